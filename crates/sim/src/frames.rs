//! Where the frames of a segment stand: a walk of a few lines, written from the specification and
//! sharing nothing with the trail, so that the model knows what a fault may cost.

use std::ops::Range;

/// A frame in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes.
    pub at: Range<u64>,
    /// The first sequence in it.
    pub first_sequence: u64,
    /// The last sequence in it.
    pub last_sequence: u64,
}

/// The frames in a segment's bytes, found by their markers; none of them is checked.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut from = 0;
    while from + HEADER_BYTES <= bytes.len() {
        if !bytes[from..].starts_with(&MARKER) {
            from += 1;
            continue;
        }
        let number = |at: usize, count: usize| {
            let field = &bytes[from + at..from + at + count];
            field
                .iter()
                .rev()
                .fold(0, |all, byte| all << 8 | u64::from(*byte))
        };
        let (first, count) = (number(24, 8), number(20, 2));
        let length = HEADER_BYTES as u64 + number(56, 2) + number(8, 4);
        let at = from as u64..(from as u64 + length).min(bytes.len() as u64);
        // A length may be damaged, so the next one is looked for behind the marker.
        from += MARKER.len();
        frames.push(Frame {
            at,
            first_sequence: first,
            last_sequence: first.saturating_add(count).saturating_sub(1),
        });
    }
    frames
}

const MARKER: [u8; 8] = [0xc7, 0x1e, 0xa5, 0x0d, 0x93, 0x7a, 0x42, 0xe8];
const HEADER_BYTES: usize = 96;
