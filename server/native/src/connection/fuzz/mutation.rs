//! What one client sends, made into what none would.

use super::*;

const PREFACE_BYTES: usize = 24;
/// So much is sent by one client at most.
const MOST_BYTES: usize = 1 << 14;

/// Where frames begin and end.
fn edges(bytes: &[u8]) -> Vec<usize> {
    let mut edges = vec![PREFACE_BYTES.min(bytes.len())];
    let mut at = edges[0];
    while let Some(&[a, b, c]) = bytes.get(at..at + 3).and_then(|size| size.first_chunk()) {
        at += 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        edges.push(at.min(bytes.len()));
    }
    edges
}

#[derive(Clone, Debug)]
enum Act {
    Flip(u8),
    Remove,
    Double,
    /// With so much of another file.
    Splice(Index, Index, Index),
}

#[derive(Clone, Debug)]
pub(super) struct Mutation {
    act: Act,
    /// Whether it is of whole frames.
    framed: bool,
    from: Index,
    to: Index,
}

impl Mutation {
    pub(super) fn of(&self, bytes: &mut Vec<u8>) {
        let range = self.range(bytes, &self.from, &self.to);
        let put = match &self.act {
            Act::Flip(bits) => {
                let at = self.from.index(bytes.len() + 1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
                return;
            }
            Act::Remove => Vec::new(),
            Act::Double => bytes[range.clone()].repeat(2),
            Act::Splice(file, from, to) => {
                let (_, other) = file.get(&CORPUS[..]);
                other[self.range(other, from, to)].to_vec()
            }
        };
        bytes.splice(range, put);
        bytes.truncate(MOST_BYTES);
    }

    fn range(&self, bytes: &[u8], from: &Index, to: &Index) -> Range<usize> {
        let edges = if self.framed {
            edges(bytes)
        } else {
            (0..=bytes.len()).collect()
        };
        let (from, to) = (*from.get(&edges), *to.get(&edges));
        from.min(to)..from.max(to)
    }
}

pub(super) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let index = any::<Index>;
    let act = prop_oneof![
        (1..=255u8).prop_map(Act::Flip),
        Just(Act::Remove),
        Just(Act::Double),
        (index(), index(), index()).prop_map(|(file, from, to)| Act::Splice(file, from, to)),
    ];
    let mutation =
        (act, any::<bool>(), index(), index()).prop_map(|(act, framed, from, to)| Mutation { act, framed, from, to });
    prop::collection::vec(mutation, 1..5)
}
