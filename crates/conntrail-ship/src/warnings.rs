//! What somebody should know of a destination though deliveries go on: logged once, and shown as
//! long as it is new.

use record::Mono;
use std::collections::BTreeMap;

/// The warnings of one destination.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// When each was last heard.
    heard: BTreeMap<String, Mono>,
}

/// So long a warning is shown that is not heard again.
const SHOWN_NS: u64 = 3_600_000_000_000;

/// At most so many are shown.
const SHOWN_MAX: usize = 8;

impl Warnings {
    /// Takes what was heard; the first time that something is heard it is returned.
    pub(crate) fn hear(&mut self, warnings: Vec<String>, now: Mono) -> Vec<String> {
        self.heard.retain(|_, at| now.since_ns(*at) < SHOWN_NS);
        let mut new = Vec::new();
        for warning in warnings {
            let is_known = self.heard.contains_key(&warning);
            if is_known || self.heard.len() < SHOWN_MAX {
                self.heard.insert(warning.clone(), now);
            }
            if !is_known {
                new.push(warning);
            }
        }
        new
    }

    /// What is shown.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.heard.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_once_and_shown_for_an_hour() {
        let mut warnings = Warnings::default();
        let old = || vec!["old certificate".to_owned()];
        assert_eq!(warnings.hear(old(), Mono(1)), old());
        assert_eq!(warnings.hear(old(), Mono(2)), Vec::<String>::new());
        assert_eq!(warnings.shown(), old());
        assert_eq!(
            warnings.hear(Vec::new(), Mono(SHOWN_NS)),
            Vec::<String>::new()
        );
        assert_eq!(warnings.shown(), old());
        warnings.hear(Vec::new(), Mono(SHOWN_NS + 2));
        assert_eq!(warnings.shown(), Vec::<String>::new());
        assert_eq!(warnings.hear(old(), Mono(SHOWN_NS + 3)), old());
    }
}
