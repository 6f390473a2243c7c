//! The body of a message: in one piece, or in those that it came in, which are copied when they are used and not before.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

/// Bytes in one piece or more, none of which is empty. A clone shares them.
#[derive(Clone, Debug)]
pub struct Body {
    pieces: Pieces,
    size: usize,
}

#[derive(Clone, Debug)]
enum Pieces {
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl Body {
    /// Joins pieces; the empty ones are left out.
    pub fn of(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        if pieces.len() < 2 {
            return Body::from(pieces.pop().unwrap_or_default());
        }
        Body {
            size: pieces.iter().map(Bytes::len).sum(),
            pieces: Pieces::Many(pieces.into()),
        }
    }

    pub fn len(&self) -> usize {
        self.size
    }

    /// As much of the beginning as lies in one piece.
    pub fn head(&self) -> &[u8] {
        match &self.pieces {
            Pieces::One(piece) => piece,
            Pieces::Many(pieces) => pieces.first().map_or(&[], |piece| piece),
        }
    }

    /// All of it in one piece; copies only where there are more.
    pub fn whole(&self) -> Bytes {
        match &self.pieces {
            Pieces::One(piece) => piece.clone(),
            Pieces::Many(_) => {
                let mut whole = vec![0; self.size];
                self.copy(0..self.size, &mut whole);
                Bytes::from(whole)
            }
        }
    }

    /// Copies a range that lies within the body to where it just fits in.
    pub fn copy(&self, range: Range<usize>, mut to: &mut [u8]) {
        for part in self.parts(range) {
            let (here, rest) = to.split_at_mut(part.len());
            here.copy_from_slice(part);
            to = rest;
        }
    }

    /// A range that lies within the body, in the pieces that it is in.
    pub fn parts(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let pieces = match &self.pieces {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        };
        let mut at = 0;
        pieces.iter().filter_map(move |piece| {
            let begin = range.start.saturating_sub(at).min(piece.len());
            let end = range.end.saturating_sub(at).min(piece.len());
            at += piece.len();
            (begin < end).then(|| &piece[begin..end])
        })
    }
}

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Self {
        Body {
            size: piece.len(),
            pieces: Pieces::One(piece),
        }
    }
}

/// Takes so many bytes off the front of some pieces; all of them where there are not as many.
pub fn split_front(pieces: &mut std::collections::VecDeque<Bytes>, size: usize) -> Vec<Bytes> {
    let mut front = Vec::new();
    let mut left = size;
    while left > 0 {
        let Some(piece) = pieces.front_mut() else {
            break;
        };
        if piece.len() > left {
            front.push(piece.split_to(left));
            break;
        }
        left -= piece.remaining();
        front.extend(pieces.pop_front());
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"hello");
        let body = Body::of(vec![Bytes::new(), piece.clone()]);
        assert_eq!(body.whole().as_ptr(), piece.as_ptr());
        assert_eq!((body.len(), body.head()), (5, &b"hello"[..]));
    }

    proptest! {
        #[test]
        fn a_range_is_the_same_however_the_body_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            at in any::<prop::sample::Index>(),
            until in any::<prop::sample::Index>(),
        ) {
            let whole = pieces.concat();
            let body = Body::of(pieces.into_iter().map(Bytes::from).collect());
            prop_assert_eq!(&body.whole()[..], &whole[..]);
            prop_assert!(whole.starts_with(body.head()));
            let (at, until) = (at.index(whole.len() + 1), until.index(whole.len() + 1));
            let range = at.min(until)..at.max(until);
            let mut copied = vec![0; range.len()];
            body.copy(range.clone(), &mut copied);
            prop_assert_eq!(&copied[..], &whole[range.clone()]);
            prop_assert_eq!(body.parts(range.clone()).collect::<Vec<_>>().concat(), &whole[range]);
        }
    }
}
