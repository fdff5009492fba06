//! How the tree reads a pattern: as a string of symbols.
//!
//! A key is a pattern's text with a comma put after it in thought. So a pattern matches a subject
//! exactly if its key begins the subject's key byte for byte: `role:math,` begins
//! `role:math,cmd:sum,` but not `role:mathematics,`.
//!
//! Each byte is two symbols, its class and its place in the class, which together order as the
//! bytes do. Bytes that patterns are mostly made of are alone in their class, so that the class
//! tells all and a branch at the place never arises; the bytes between them share a class. (With
//! the two halves of the byte as symbols, a lookup among a million keys that end in hexadecimal
//! digits took three times as long.)
//!
//! Offsets into a key count symbols. What stands at an offset is a slot: [`END`] behind the key's
//! last symbol, otherwise 1 + the symbol.

/// The slot behind a key's last symbol. It comes before all others.
pub(crate) const END: u32 = 0;

/// How many slots there are at most.
pub(crate) const SLOTS: u32 = 52;

/// Where two different keys part.
#[derive(Clone, Copy)]
pub(crate) struct Fork {
    /// The first offset at which their slots differ.
    pub(crate) offset: u16,
    /// The one's slot there.
    pub(crate) left: u32,
    /// The other's.
    pub(crate) right: u32,
}

/// Whether `subject` begins with all fields of `pattern`, both in canonical form.
pub(crate) fn covers(pattern: &str, subject: &str) -> bool {
    subject
        .strip_prefix(pattern)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

/// What stands at `offset` in the key of `text`.
#[inline]
pub(crate) fn slot(text: &str, offset: u16) -> u32 {
    match byte(text, usize::from(offset / 2)) {
        None => END,
        Some(byte) => {
            let [class, place] = SYMBOLS[usize::from(byte)];
            1 + u32::from(if offset & 1 == 0 { class } else { place })
        }
    }
}

/// The length of the key of `text`, in symbols.
pub(crate) fn length(text: &str) -> usize {
    2 * (text.len() + 1)
}

/// How many symbols the keys of `a` and `b` have in common at their beginning, in whole bytes.
pub(crate) fn shared(a: &str, b: &str) -> usize {
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    // Where one text ends, its comma in thought may meet a written one, and its key ends there.
    let comma = byte(a, alike) == byte(b, alike);
    2 * (alike + usize::from(comma))
}

/// Where the keys of `left` and `right` part; `None` if they are the same.
///
/// One of the two must be a pattern's: its length keeps the offset within 16 bits.
pub(crate) fn fork(left: &str, right: &str) -> Option<Fork> {
    if left == right {
        return None;
    }
    let whole =
        u16::try_from(shared(left, right)).expect("a pattern's key is 2,050 symbols at most");
    let offset = whole + u16::from(slot(left, whole) == slot(right, whole));
    Some(Fork {
        offset,
        left: slot(left, offset),
        right: slot(right, offset),
    })
}

#[inline]
fn byte(text: &str, at: usize) -> Option<u8> {
    match text.as_bytes().get(at) {
        Some(byte) => Some(*byte),
        None => (at == text.len()).then_some(b','),
    }
}

/// The class of each byte and its place in the class.
const SYMBOLS: [[u8; 2]; 256] = symbols();

const _: () = assert!(2 + (SYMBOLS[255][0] as u32) <= SLOTS, "too many classes");

const fn symbols() -> [[u8; 2]; 256] {
    let mut symbols = [[0, 0]; 256];
    let mut byte = 1;
    while byte < 256 {
        let [class, place] = symbols[byte - 1];
        let alone = is_common(byte as u8) || is_common(byte as u8 - 1);
        // Slots are 1 + the place, so the last place is two less than their number.
        let full = place as u32 + 2 == SLOTS;
        symbols[byte] = match alone || full {
            true => [class + 1, 0],
            false => [class, place + 1],
        };
        byte += 1;
    }
    symbols
}

/// Whether a byte deserves a class of its own: digits, small letters and what separates them.
const fn is_common(byte: u8) -> bool {
    matches!(byte, b','..=b':' | b'_' | b'a'..=b'z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_order_as_bytes_do_and_fit_their_slots() {
        assert!(SYMBOLS.is_sorted_by(|a, b| a < b));
        let highest = SYMBOLS.iter().flatten().max();
        assert!(highest.is_some_and(|highest| 1 + u32::from(*highest) < SLOTS));
    }

    #[test]
    fn keys_part_where_their_symbols_differ() {
        for (left, right, offset) in [
            ("a", "b", 0),
            ("a,b", "a", 4),
            ("a", "a!", 2),
            ("AB", "AC", 3),
        ] {
            assert_eq!(fork(left, right).map(|fork| fork.offset), Some(offset));
        }
        assert!(fork("a,b", "a,b").is_none());
    }
}
