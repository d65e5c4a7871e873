//! Canonical bytes of records.

use crate::wire::WireError;
use crate::{Device, Record};

/// Appends the canonical bytes of `record`.
pub fn encode(_record: &Record, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a record from its bytes.
pub fn decode(_bytes: &[u8]) -> Result<Record, WireError> {
    todo!()
}

/// Appends the canonical bytes of `device`.
pub fn encode_device(_device: &Device, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a device from its bytes.
pub fn decode_device(_bytes: &[u8]) -> Result<Device, WireError> {
    todo!()
}
