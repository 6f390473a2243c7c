//! The quick reading of a ModelInferRequest (the Open Inference Protocol): of what most of them consist of, and no more.
//!
//! A request whose tensors are raw and that has no parameters is cut into pieces here. Whatever else it is, be it rare or
//! wrong, is None: protobuf reads it then, and has the say about it.

use std::ops::Range;

/// Inputs, outputs and dimensions beyond these are somebody else's to judge.
const MOST_PARTS: usize = 64;
const MOST_NAME_BYTES: usize = 256;

const MODEL: u64 = 1;
const VERSION: u64 = 2;
const ID: u64 = 3;
const INPUTS: u64 = 5;
const OUTPUTS: u64 = 6;
const RAW: u64 = 7;

/// A request in pieces of its message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    pub model: Range<usize>,
    pub version: Range<usize>,
    /// The whole field, its tag included: that is how an answer repeats it.
    pub id: Range<usize>,
    pub inputs: Vec<Range<usize>>,
    pub outputs: Vec<Range<usize>>,
    pub raw: Vec<Range<usize>>,
}

/// One input's declaration.
#[derive(Debug, PartialEq, Eq)]
pub struct Input<'m> {
    pub name: &'m str,
    pub datatype: &'m str,
    pub shape: Vec<i64>,
}

/// Cuts a request of `size` bytes at its fields, without a look into them but for the id, which must be text.
///
/// `message` is its beginning, in which all must lie but the elements of the last tensor.
pub fn cut(message: &[u8], size: usize) -> Option<Pieces> {
    let mut pieces = Pieces::default();
    let (mut has_model, mut has_version, mut has_id) = (false, false, false);
    let mut fields = Fields { message, at: 0, size };
    while !fields.is_over() {
        let begin = fields.at;
        let (number, content) = fields.bytes()?;
        match number {
            RAW if pieces.raw.len() < MOST_PARTS => pieces.raw.push(content),
            _ if content.end > message.len() => return None,
            MODEL if !has_model => (has_model, pieces.model) = (true, content),
            VERSION if !has_version => (has_version, pieces.version) = (true, content),
            ID if !has_id => {
                std::str::from_utf8(&message[content.clone()]).ok()?;
                has_id = true;
                if !content.is_empty() {
                    pieces.id = begin..content.end;
                }
            }
            INPUTS if pieces.inputs.len() < MOST_PARTS => pieces.inputs.push(content),
            OUTPUTS if pieces.outputs.len() < MOST_PARTS => pieces.outputs.push(content),
            _ => return None,
        }
    }
    let is_whole = !pieces.raw.is_empty() && pieces.raw.len() == pieces.inputs.len();
    is_whole.then_some(pieces)
}

/// Reads an input that is nothing but a name, an element type and a shape.
pub fn input(message: &[u8]) -> Option<Input<'_>> {
    let (mut name, mut datatype, mut shape) = (None, None, Vec::new());
    let mut fields = Fields::new(message);
    while !fields.is_over() {
        match fields.tag()? {
            (1, 2) if name.is_none() => name = Some(text(fields.content()?, message)?),
            (2, 2) if datatype.is_none() => datatype = Some(text(fields.content()?, message)?),
            (3, 2) => {
                let packed = fields.content()?;
                let mut numbers = Fields {
                    message: &message[..packed.end],
                    at: packed.start,
                    size: packed.end,
                };
                while !numbers.is_over() {
                    push(&mut shape, numbers.varint()?)?;
                }
            }
            (3, 0) => {
                let size = fields.varint()?;
                push(&mut shape, size)?;
            }
            _ => return None,
        }
    }
    Some(Input {
        name: name.unwrap_or(""),
        datatype: datatype.unwrap_or(""),
        shape,
    })
}

/// Reads an output that is nothing but a name.
pub fn output(message: &[u8]) -> Option<&str> {
    let mut name = None;
    let mut fields = Fields::new(message);
    while !fields.is_over() {
        match fields.bytes()? {
            (1, content) if name.is_none() => name = Some(text(content, message)?),
            _ => return None,
        }
    }
    Some(name.unwrap_or(""))
}

/// A name, where it is text and none of the very long.
pub fn text(content: Range<usize>, message: &[u8]) -> Option<&str> {
    if content.len() > MOST_NAME_BYTES {
        return None;
    }
    std::str::from_utf8(&message[content]).ok()
}

fn push(shape: &mut Vec<i64>, size: u64) -> Option<()> {
    if shape.len() >= MOST_PARTS {
        return None;
    }
    shape.push(size as i64); // int64 on the wire is its two's complement
    Some(())
}

/// Fields of a message of `size` bytes, of which the beginning is there.
struct Fields<'m> {
    message: &'m [u8],
    at: usize,
    size: usize,
}

impl<'m> Fields<'m> {
    fn new(message: &'m [u8]) -> Self {
        Fields {
            message,
            at: 0,
            size: message.len(),
        }
    }

    fn is_over(&self) -> bool {
        self.at >= self.size
    }

    /// The number and the wire type of the next field.
    fn tag(&mut self) -> Option<(u64, u64)> {
        let tag = self.short()?;
        Some((tag >> 3, tag & 7))
    }

    /// A tag or a size as everybody writes it: of longer ones protobuf takes some.
    fn short(&mut self) -> Option<u64> {
        let begin = self.at;
        let number = self.varint()?;
        (self.at - begin == 1 || self.message[self.at - 1] != 0).then_some(number)
    }

    /// The next field, which has to be one of bytes.
    fn bytes(&mut self) -> Option<(u64, Range<usize>)> {
        let (number, kind) = self.tag()?;
        if kind != 2 {
            return None;
        }
        Some((number, self.content()?))
    }

    fn content(&mut self) -> Option<Range<usize>> {
        let size = usize::try_from(self.short()?).ok()?;
        let end = self.at.checked_add(size)?;
        if end > self.size {
            return None;
        }
        let content = self.at..end;
        self.at = end;
        Some(content)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.message.get(self.at)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut size = content.len();
        while size > 127 {
            out.push((size & 127 | 128) as u8);
            size >>= 7;
        }
        out.push(size as u8);
        out.extend_from_slice(content);
        out
    }

    fn request(id: &str, raw: &[u8]) -> Vec<u8> {
        let input = [field(1, b"x"), field(2, b"FP32"), field(3, &[1, 64])].concat();
        let mut message = field(1, b"model");
        if !id.is_empty() {
            message.extend(field(3, id.as_bytes()));
        }
        message.extend(field(5, &input));
        message.extend(field(7, raw));
        message
    }

    fn whole(message: &[u8]) -> Option<Pieces> {
        cut(message, message.len())
    }

    #[test]
    fn of_the_last_tensors_elements_none_need_be_there() {
        let message = request("me", &[7; 300]);
        let elements = message.len() - 300;
        for there in elements..=message.len() {
            assert_eq!(cut(&message[..there], message.len()), whole(&message), "{there}");
        }
        for there in 0..elements {
            assert_eq!(cut(&message[..there], message.len()), None, "{there}");
        }
    }

    #[test]
    fn a_plain_request_is_cut_at_its_fields() {
        let message = request("me", b"\0\0\0\0");
        let pieces = cut(&message, message.len()).unwrap();
        assert_eq!(&message[pieces.model.clone()], b"model");
        assert_eq!(&message[pieces.id.clone()], b"\x1a\x02me");
        assert_eq!(&message[pieces.raw[0].clone()], b"\0\0\0\0");
        assert_eq!(
            input(&message[pieces.inputs[0].clone()]),
            Some(Input {
                name: "x",
                datatype: "FP32",
                shape: vec![1, 64]
            })
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_protobuf() {
        let plain = request("", b"\0");
        for (what, more) in [
            ("a parameter", field(4, b"\x0a\x01a")),
            ("an unknown field", field(9, b"")),
            ("a second model", field(1, b"other")),
            ("more raw than inputs", field(7, b"")),
            ("a number", vec![0x08, 0x01]),
            ("cut off", vec![0x3a, 0x05, 0]),
        ] {
            assert_eq!(whole(&[plain.clone(), more].concat()), None, "{what}");
        }
        assert_eq!(
            whole(&[field(3, b"\xff"), plain].concat()),
            None,
            "an id that is no text"
        );
        assert_eq!(whole(b""), None);
        assert_eq!(input(&field(5, b"")), None, "typed contents");
        assert_eq!(input(&field(1, &[b'a'; 257])), None, "a long name");
        assert_eq!(output(&field(2, b"")), None, "a parameter");
    }

    #[test]
    fn tags_and_sizes_longer_than_they_need_be_are_left_to_protobuf() {
        let plain = request("", b"\0");
        assert!(whole(&[field(3, b"a"), plain.clone()].concat()).is_some());
        for padding in 0..6 {
            let long = |number: u8| [vec![number | 128], vec![128; padding], vec![0]].concat();
            let by_tag = [long(3 << 3 | 2), vec![1, b'a'], plain.clone()].concat();
            let by_size = [vec![3 << 3 | 2], long(1), vec![b'a'], plain.clone()].concat();
            for message in [by_tag, by_size] {
                assert_eq!(whole(&message), None, "{padding}");
            }
        }
    }

    #[test]
    fn dimensions_may_be_packed_or_not_and_negative() {
        let unpacked = [3 << 3, 5, 3 << 3, 6];
        assert_eq!(input(&unpacked).unwrap().shape, vec![5, 6]);
        let negative = field(3, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(input(&negative).unwrap().shape, vec![-1]);
    }

    #[test]
    fn the_corpus_is_read_without_a_panic() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            look(&std::fs::read(entry.unwrap().path()).unwrap());
            read += 1;
        }
        assert!(read > 10);
    }

    /// Reads all there is; every piece must lie within the message.
    fn look(message: &[u8]) {
        if let Some(pieces) = whole(message) {
            for range in pieces.inputs.iter().chain(&pieces.outputs) {
                let _ = input(&message[range.clone()]);
                let _ = output(&message[range.clone()]);
            }
            for range in &pieces.raw {
                let _ = &message[range.clone()];
            }
        }
    }

    proptest! {
        #[test]
        fn junk_is_never_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            look(&message);
        }

        /// Mutations of what is right reach further than junk does.
        #[test]
        fn a_broken_request_is_never_a_panic(at in 0usize..60, byte in any::<u8>(), cut_at in 0usize..60) {
            let mut message = request("an id", &[7; 20]);
            let at = at % message.len();
            message[at] = byte;
            look(&message);
            message.truncate(cut_at % message.len());
            look(&message);
        }
    }
}
