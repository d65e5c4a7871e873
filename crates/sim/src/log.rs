//! What happened in a run: a digest of everything, and the last of it in words.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Clones are the same log.
#[derive(Clone, Default)]
pub struct Log {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    digest: u64,
    /// `None` where nobody wants to read them.
    lines: Option<VecDeque<String>>,
}

impl Log {
    /// An empty log; with `traced`, one that keeps words.
    pub fn new(traced: bool) -> Log {
        let lines = traced.then(VecDeque::new);
        let inner = Inner { digest: 0, lines };
        Log {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    /// Takes a number into the digest.
    pub fn fold(&self, number: u64) {
        let mut inner = self.inner.borrow_mut();
        let mixed = (inner.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        inner.digest = mixed ^ (mixed >> 29);
    }

    /// Takes bytes into the digest.
    pub fn fold_bytes(&self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(number));
        }
        self.fold(bytes.len() as u64);
    }

    /// Keeps a line, where anybody wants to read it.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.inner.borrow_mut().lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    }

    /// Two runs with the same digest did the same.
    pub fn digest(&self) -> u64 {
        self.inner.borrow().digest
    }

    /// The last lines.
    pub fn lines(&self) -> Vec<String> {
        let inner = self.inner.borrow();
        inner.lines.iter().flatten().cloned().collect()
    }
}

const LINES_MAX: usize = 400;
