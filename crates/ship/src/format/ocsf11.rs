//! OCSF 1.1.

pub(super) fn prune(whole: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(whole);
}
