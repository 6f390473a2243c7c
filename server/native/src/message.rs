//! Length-prefixed messages out of DATA frames (gRPC over HTTP/2, "Length-Prefixed-Message").

use std::collections::VecDeque;
use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::body::{self, Body};
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
#[derive(Debug)]
pub struct Message {
    pub compressed: bool,
    pub body: Body,
}

/// Gathers frames until messages are whole. Holds no more than came, and refuses a message by its length alone.
#[derive(Debug)]
pub struct Reader {
    limit_bytes: usize,
    encoding: Encoding,
    /// The frames as they came. Small ones but the first are copied into `tail`, as each keeps a whole buffer of the
    /// socket alive.
    frames: VecDeque<Bytes>,
    /// What came after the frames.
    tail: BytesMut,
    held_bytes: usize,
}

/// Frames from here on stay as they came: what their buffer holds besides is a few times that at most.
const LARGE_BYTES: usize = 1 << 13;

impl Reader {
    pub fn new(limit_bytes: usize, encoding: Encoding) -> Self {
        Reader {
            limit_bytes,
            encoding,
            frames: VecDeque::new(),
            tail: BytesMut::new(),
            held_bytes: 0,
        }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let is_first = self.is_empty();
        self.held_bytes += chunk.len();
        if is_first {
            self.frames.push_back(chunk);
            return;
        }
        if self.tail.is_empty() && self.frames.len() == 1 && self.frames[0].len() < LARGE_BYTES {
            self.tail.extend(self.frames.pop_front());
        }
        if chunk.len() < LARGE_BYTES {
            self.tail.extend_from_slice(&chunk);
            return;
        }
        self.end_tail();
        self.frames.push_back(chunk);
    }

    /// Of messages that are not whole, or were not read.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether the bytes end between two messages.
    pub fn is_empty(&self) -> bool {
        self.held_bytes == 0
    }

    /// The next message if it is whole. An error ends the call; nothing can be read after it.
    pub fn next(&mut self) -> Result<Option<Message>, Failure> {
        if self.held_bytes < PREFIX_BYTES {
            return Ok(None);
        }
        let mut bytes = self.frames.iter().flatten().chain(&self.tail).copied();
        let [flag, a, b, c, d] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
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
        if self.held_bytes - PREFIX_BYTES < size {
            return Ok(None);
        }
        self.end_tail();
        self.held_bytes -= PREFIX_BYTES + size;
        body::split_front(&mut self.frames, PREFIX_BYTES);
        let body = Body::of(body::split_front(&mut self.frames, size));
        Ok(Some(Message { compressed, body }))
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push_back(std::mem::take(&mut self.tail).freeze());
        }
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
    framed_of(body.len(), [body])
}

/// A message of `size` bytes, made of these pieces, with its prefix.
pub fn framed_of<'p>(size: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> Bytes {
    let mut out = Vec::with_capacity(PREFIX_BYTES + size);
    out.extend_from_slice(&prefix(size));
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    debug_assert_eq!(out.len(), PREFIX_BYTES + size, "the pieces are as long as was said");
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
        assert_eq!(message.body.whole().as_ptr(), frame[PREFIX_BYTES..].as_ptr());
        assert!(reader.is_empty());
    }

    #[test]
    fn large_frames_of_a_message_are_not_copied_and_small_ones_share_a_buffer() {
        let body: Vec<u8> = (0..3 * LARGE_BYTES).map(|at| at as u8).collect();
        let wire = framed(&body);
        let mut reader = Reader::new(1 << 20, Encoding::Identity);
        let middle = LARGE_BYTES + 3..2 * LARGE_BYTES + 3;
        for at in 0..middle.start {
            reader.push(wire.slice(at..=at));
        }
        reader.push(wire.slice(middle.clone()));
        for at in middle.end..wire.len() {
            assert!(reader.next().unwrap().is_none());
            reader.push(wire.slice(at..=at));
        }
        assert!(reader
            .frames
            .iter()
            .any(|frame| frame.as_ptr() == wire[middle.start..].as_ptr()));
        assert_eq!(reader.frames.len(), 2);
        assert_eq!(&reader.next().unwrap().unwrap().body.whole()[..], &body[..]);
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
            large in 0..2 * LARGE_BYTES,
            junk in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(prop_oneof![1usize..50, LARGE_BYTES - 9..LARGE_BYTES + 9], 1..60),
        ) {
            let mut bodies = bodies;
            bodies.push(vec![7; large]);
            let mut wire: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            wire.extend(&junk);
            let mut whole = Reader::new(2 * LARGE_BYTES, Encoding::Gzip);
            whole.push(Bytes::from(wire.clone()));
            let mut cut = Reader::new(2 * LARGE_BYTES, Encoding::Gzip);
            let (mut at, mut turn) = (0, 0);
            while at < wire.len() {
                let end = (at + cuts[turn % cuts.len()]).min(wire.len());
                cut.push(Bytes::copy_from_slice(&wire[at..end]));
                (at, turn) = (end, turn + 1);
            }
            for body in &bodies {
                prop_assert_eq!(&whole.next().unwrap().unwrap().body.whole()[..], &body[..]);
            }
            let mut found = 0;
            while let Ok(Some(message)) = cut.next() {
                if let Some(body) = bodies.get(found) {
                    prop_assert_eq!(&message.body.whole()[..], &body[..]);
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
