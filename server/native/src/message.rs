//! Length-prefixed messages out of DATA frames (gRPC over HTTP/2, "Length-Prefixed-Message").

use std::io::Read;

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::status::{Failure, INTERNAL, RESOURCE_EXHAUSTED};

pub const PREFIX_BYTES: usize = 5;

/// How the messages of a call are compressed, where their flag says that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// A message as it came; compressed ones are still to be inflated.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub compressed: bool,
    pub body: Bytes,
}

/// Gathers frames until messages are whole. Holds no more than came, and refuses a message by its length alone.
#[derive(Debug)]
pub struct Reader {
    limit_bytes: usize,
    encoding: Encoding,
    /// A frame that nothing stands before: messages in it are not copied.
    frame: Bytes,
    /// Otherwise everything is here, copied: many small frames would each keep a whole buffer of the socket alive.
    gathered: BytesMut,
}

/// Memory is taken for this many times what came, whatever length a message claims to have,
const AHEAD: usize = 8;
/// and for that much in any case.
const LEAST_BYTES: usize = 1 << 14;

impl Reader {
    pub fn new(limit_bytes: usize, encoding: Encoding) -> Self {
        Reader {
            limit_bytes,
            encoding,
            frame: Bytes::new(),
            gathered: BytesMut::new(),
        }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.frame = chunk;
            return;
        }
        let frame = std::mem::take(&mut self.frame);
        self.make_room(&frame, chunk.len());
        self.gathered.extend_from_slice(&frame);
        self.gathered.extend_from_slice(&chunk);
    }

    /// Whether the bytes end between two messages.
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty() && self.gathered.is_empty()
    }

    /// The next message if it is whole. An error ends the call; nothing can be read after it.
    pub fn next(&mut self) -> Result<Option<Message>, Failure> {
        let held: &[u8] = if self.gathered.is_empty() {
            &self.frame
        } else {
            &self.gathered
        };
        let Some((&[flag, a, b, c, d], rest)) = held.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let compressed = match flag {
            0 => false,
            1 if self.encoding != Encoding::Identity => true,
            1 => {
                return Err(Failure::new(
                    INTERNAL,
                    "a message is compressed, and grpc-encoding does not say how",
                ))
            }
            flag => return Err(Failure::new(INTERNAL, format!("a message has the unknown flag {flag}"))),
        };
        if size > self.limit_bytes {
            return Err(too_large(size, self.limit_bytes));
        }
        if rest.len() < size {
            return Ok(None);
        }
        let mut body = if self.gathered.is_empty() {
            self.frame.split_to(PREFIX_BYTES + size)
        } else {
            self.gathered.split_to(PREFIX_BYTES + size).freeze()
        };
        body.advance(PREFIX_BYTES);
        Ok(Some(Message { compressed, body }))
    }

    /// Takes memory for the message of which a part is there, in few steps and never for much more than came.
    fn make_room(&mut self, frame: &[u8], more: usize) {
        let coming = frame.len() + more;
        if self.gathered.capacity() - self.gathered.len() >= coming {
            return;
        }
        let begin: &[u8] = if self.gathered.is_empty() {
            frame
        } else {
            &self.gathered
        };
        let claimed = match begin.first_chunk::<PREFIX_BYTES>() {
            Some(&[_, a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) as usize + PREFIX_BYTES,
            None => 0,
        };
        let there = self.gathered.len() + coming;
        let wanted = claimed.clamp(there, (there * AHEAD).max(LEAST_BYTES));
        self.gathered.reserve(wanted - self.gathered.len());
    }
}

/// In the words that grpcio has for it, which callers know.
pub fn too_large(size: usize, limit: usize) -> Failure {
    Failure::new(
        RESOURCE_EXHAUSTED,
        format!("received message is larger than max ({size} vs. {limit})"),
    )
}

/// Unpacks a message, and stops as soon as it is larger than it may be.
pub fn inflate(body: &[u8], encoding: Encoding, limit_bytes: usize) -> Result<Bytes, Failure> {
    let most = limit_bytes as u64 + 1;
    let mut out = Vec::with_capacity(body.len().saturating_mul(2).min(limit_bytes));
    let read = match encoding {
        Encoding::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut out),
        Encoding::Deflate => ZlibDecoder::new(body).take(most).read_to_end(&mut out),
        Encoding::Identity => {
            return Err(Failure::new(INTERNAL, "there is nothing to inflate"));
        }
    };
    match read {
        Ok(_) if out.len() > limit_bytes => Err(Failure::new(
            RESOURCE_EXHAUSTED,
            format!("decompressed message is larger than max {limit_bytes}"),
        )),
        Ok(_) => Ok(Bytes::from(out)),
        Err(error) => Err(Failure::new(
            INTERNAL,
            format!("a compressed message cannot be read: {error}"),
        )),
    }
}

/// A message with its prefix.
pub fn framed(body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(PREFIX_BYTES + body.len());
    out.extend_from_slice(&prefix(body.len()));
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// What stands before an uncompressed message of that size.
pub fn prefix(size: usize) -> [u8; PREFIX_BYTES] {
    let size = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    [0, size[0], size[1], size[2], size[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use flate2::Compression;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn a_message_in_one_frame_is_not_copied() {
        let frame = framed(b"hello");
        let mut reader = Reader::new(100, Encoding::Identity);
        reader.push(frame.clone());
        let message = reader.next().unwrap().unwrap();
        assert_eq!(message.body.as_ptr(), frame[PREFIX_BYTES..].as_ptr());
        assert!(reader.is_empty());
    }

    #[test]
    fn a_message_is_refused_by_its_length_alone() {
        let mut reader = Reader::new(100, Encoding::Identity);
        reader.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        let failure = reader.next().unwrap_err();
        assert_eq!(failure.status, RESOURCE_EXHAUSTED);
        assert!(failure.text.contains("larger than max"));
    }

    #[test]
    fn a_flag_that_means_nothing_is_an_error() {
        for flag in [1u8, 2, 255] {
            let mut reader = Reader::new(100, Encoding::Identity);
            reader.push(Bytes::copy_from_slice(&[flag, 0, 0, 0, 0]));
            assert_eq!(reader.next().unwrap_err().status, INTERNAL);
        }
    }

    #[test]
    fn a_bomb_is_refused_while_it_is_unpacked() {
        let zeros = vec![0u8; 1 << 20];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&zeros).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(gzip.len() < 4096);
        let failure = inflate(&gzip, Encoding::Gzip, 1000).unwrap_err();
        assert_eq!(failure.status, RESOURCE_EXHAUSTED);
        assert_eq!(inflate(&gzip, Encoding::Gzip, 1 << 20).unwrap().len(), 1 << 20);
    }

    proptest! {
        /// Whatever the bytes and however they are cut: no panic, and the same messages as in one piece.
        #[test]
        fn cutting_changes_nothing(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            junk in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(1usize..50, 1..60),
        ) {
            let mut wire: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            wire.extend(&junk);
            let mut whole = Reader::new(300, Encoding::Gzip);
            whole.push(Bytes::from(wire.clone()));
            let mut cut = Reader::new(300, Encoding::Gzip);
            let (mut at, mut turn) = (0, 0);
            while at < wire.len() {
                let end = (at + cuts[turn % cuts.len()]).min(wire.len());
                cut.push(Bytes::copy_from_slice(&wire[at..end]));
                (at, turn) = (end, turn + 1);
            }
            for body in &bodies {
                prop_assert_eq!(&whole.next().unwrap().unwrap().body[..], &body[..]);
            }
            let mut found = 0;
            while let Ok(Some(message)) = cut.next() {
                if let Some(body) = bodies.get(found) {
                    prop_assert_eq!(&message.body[..], &body[..]);
                }
                found += 1;
            }
            prop_assert!(found >= bodies.len());
        }

        /// Junk is never a panic, and never more than the limit.
        #[test]
        fn junk_is_inflated_within_bounds(junk in prop::collection::vec(any::<u8>(), 0..400)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate] {
                if let Ok(out) = inflate(&junk, encoding, 1000) {
                    prop_assert!(out.len() <= 1000);
                }
            }
        }

        #[test]
        fn what_is_packed_is_unpacked(body in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(&body).unwrap();
            prop_assert_eq!(&inflate(&zlib.finish().unwrap(), Encoding::Deflate, 5000).unwrap()[..], &body[..]);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&body).unwrap();
            prop_assert_eq!(&inflate(&gzip.finish().unwrap(), Encoding::Gzip, 5000).unwrap()[..], &body[..]);
        }
    }
}
