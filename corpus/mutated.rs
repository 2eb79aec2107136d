//! Inputs that strangers write, as they came and changed at random: the one mechanism behind the
//! corpora of all crates. A crate's tests bring this file in with `#[path]`.
//!
//! A file of `CRATE/corpus` holds one input a line: whatever was ever tried against a parser. What
//! cannot stand in a line of text is written as `<0A>`, the byte in hexadecimal. A fuzzer needs a
//! nightly toolchain; this needs none, and every run of the tests replays the corpus.

use proptest::{
    collection::vec,
    option,
    prelude::{Strategy, any, prop_oneof},
    sample::{Index, select},
};

/// The inputs of a corpus.
pub(crate) fn inputs(corpus: &str) -> Vec<Vec<u8>> {
    corpus.lines().map(input).collect()
}

fn input(line: &str) -> Vec<u8> {
    let line = line.as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(line.len()), 0);
    while let Some(&byte) = line.get(at) {
        let coded = match line.get(at..at + 4) {
            Some([b'<', high, low, b'>']) => str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(coded.unwrap_or(byte));
        at += if coded.is_some() { 4 } else { 1 };
    }
    bytes
}

/// An input of `corpus`, in which up to four places were replaced, removed or got something inserted,
/// or which was cut and goes on as another input. `pieces` are what this parser may stumble over;
/// half of what is put in is one of them, the rest is any byte.
pub(crate) fn mutated(
    corpus: &str,
    pieces: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> + use<> {
    let line = select(inputs(corpus));
    let pieces: Vec<_> = pieces.iter().map(|piece| input(piece)).collect();
    let piece = prop_oneof![any::<u8>().prop_map(|byte| vec![byte]), select(pieces)];
    let change = (any::<Index>(), 0..3_u8, piece);
    let other = option::weighted(0.2, (line.clone(), any::<Index>(), any::<Index>()));
    (line, vec(change, 0..=4), other).prop_map(|(mut bytes, changes, other)| {
        if let Some((other, cut, from)) = other {
            bytes.truncate(cut.index(bytes.len() + 1));
            bytes.extend(&other[from.index(other.len() + 1)..]);
        }
        for (at, change, piece) in changes {
            let at = at.index(bytes.len() + 1);
            let replaced = usize::from(change > 0 && at < bytes.len());
            let piece = if change == 2 { Vec::new() } else { piece };
            bytes.splice(at..at + replaced, piece);
        }
        bytes
    })
}
