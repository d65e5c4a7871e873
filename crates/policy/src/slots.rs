//! A small memory of what was found out about processes, in which the newest takes the place of
//! what was there.

use record::Process;
use std::sync::Arc;

/// One process makes many connections. The address only finds the slot; what is in it is compared.
#[derive(Debug)]
pub(crate) struct Slots<T>(Vec<Option<T>>);

impl<T> Slots<T> {
    const COUNT: usize = 1_024;

    /// The slot of a process; `salt` tells apart what is kept of one process more than once.
    pub(crate) fn at(&mut self, process: &Arc<Process>, salt: usize) -> &mut Option<T> {
        if self.0.is_empty() {
            self.0.resize_with(Slots::<T>::COUNT, || None);
        }
        let hint = (Arc::as_ptr(process) as usize >> 4) ^ salt;
        &mut self.0[hint.wrapping_mul(0x9e37_79b1) / 64 % Slots::<T>::COUNT]
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots(Vec::new())
    }
}
