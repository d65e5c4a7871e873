//! Entitlements, in both encodings that a signature has.

use super::bytes::{Malformed, property_list};
use super::der::{self, BOOLEAN, Element, Elements, INTEGER, SEQUENCE, UTF8_STRING};
use plist::{Dictionary, Value};

/// `[APPLICATION 16]`, around everything.
const ENTITLEMENTS: u8 = 0x70;
/// `[CONTEXT 16]`, a dictionary.
const DICTIONARY: u8 = der::context(16);
/// Deeper than any entitlement is.
const DEPTH_MAX: u32 = 16;

/// The property list as text.
pub(crate) fn of_xml(blob: &[u8]) -> Result<Dictionary, Malformed> {
    let value: Value = property_list(blob)?;
    let dictionary = value.into_dictionary();
    dictionary.ok_or_else(|| Malformed::new("the property list is no dictionary"))
}

/// The encoding that newer systems read (`DERToEntitlements` in Apple's Security, first version).
pub(crate) fn of_der(blob: &[u8]) -> Result<Dictionary, Malformed> {
    let mut file = Elements::new(blob);
    let mut inside = file.one(ENTITLEMENTS)?.inside();
    let version = inside.one(INTEGER)?.integer()?;
    if version != 1 {
        return Err(Malformed(format!("entitlements of version {version}")));
    }
    let dictionary = dictionary(inside.one(DICTIONARY)?, DEPTH_MAX)?;
    match inside.is_at_end() && file.is_at_end() {
        true => Ok(dictionary),
        false => Err(Malformed::new("something follows the entitlements")),
    }
}

fn dictionary(element: Element<'_>, depth: u32) -> Result<Dictionary, Malformed> {
    let mut dictionary = Dictionary::new();
    let mut last: Option<&str> = None;
    for entry in element.inside().all()? {
        if entry.tag != SEQUENCE {
            return Err(Malformed::new("a dictionary holds what is no entry"));
        }
        let mut inside = entry.inside();
        let key = inside.one(UTF8_STRING)?.text()?;
        if last.is_some_and(|last| last >= key) {
            return Err(Malformed(format!(
                "the key {key:?} is out of order or there twice"
            )));
        }
        last = Some(key);
        let value = value(inside.any()?, depth)?;
        if !inside.is_at_end() {
            return Err(Malformed(format!("the key {key:?} has two values")));
        }
        dictionary.insert(key.to_owned(), value);
    }
    Ok(dictionary)
}

fn value(element: Element<'_>, depth: u32) -> Result<Value, Malformed> {
    let deeper = || {
        let deeper = depth.checked_sub(1);
        deeper.ok_or_else(|| Malformed::new("entitlements are nested too deep"))
    };
    match element.tag {
        BOOLEAN => match element.content {
            [0] => Ok(Value::Boolean(false)),
            [0xff] => Ok(Value::Boolean(true)),
            _ => Err(Malformed::new("a truth value is neither true nor false")),
        },
        INTEGER => Ok(Value::Integer(element.integer()?.into())),
        UTF8_STRING => Ok(Value::String(element.text()?.to_owned())),
        SEQUENCE => {
            let depth = deeper()?;
            let items = element.inside().all()?.into_iter();
            let items: Result<_, _> = items.map(|item| value(item, depth)).collect();
            Ok(Value::Array(items?))
        }
        DICTIONARY => Ok(Value::Dictionary(dictionary(element, deeper()?)?)),
        other => Err(Malformed(format!(
            "a value of the unknown kind {other:#04x}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let blob = [
            0x70, 32, 2, 1, 1, 0xb0, 27, 0x30, 6, 0x0c, 1, b'a', 1, 1, 0xff, 0x30, 17, 0x0c, 1,
            b'b', 0x30, 12, 0x0c, 1, b'x', 2, 1, 42, 0xb0, 4, 0x30, 2, 0, 0,
        ];
        assert!(
            of_der(&blob).is_err(),
            "the inner dictionary has a bad entry"
        );
        let mut blob = blob;
        blob[27..34].copy_from_slice(&[2, 2, 1, 0, 0x30, 1, 0]);
        assert!(of_der(&blob).is_err());
        let good = [
            0x70, 26, 2, 1, 1, 0xb0, 21, 0x30, 6, 0x0c, 1, b'a', 1, 1, 0xff, 0x30, 11, 0x0c, 1,
            b'b', 0x30, 6, 0x0c, 1, b'x', 2, 1, 42,
        ];
        let read = of_der(&good).unwrap();
        assert_eq!(read.get("a").and_then(Value::as_boolean), Some(true));
        let items = vec![Value::String("x".to_owned()), Value::Integer(42.into())];
        assert_eq!(read.get("b"), Some(&Value::Array(items)));
    }

    #[test]
    fn depth_is_limited() {
        let mut nested = vec![0x30, 0];
        for _ in 0..40 {
            let length = u8::try_from(nested.len()).unwrap();
            nested.splice(0..0, [0x30, length]);
        }
        let mut entry = vec![0x0c, 1, b'a'];
        entry.extend(nested);
        let mut blob = vec![2, 1, 1];
        let length = u8::try_from(entry.len()).unwrap();
        blob.extend([0xb0, length + 2, 0x30, length]);
        blob.extend(entry);
        let length = u8::try_from(blob.len()).unwrap();
        blob.splice(0..0, [0x70, length]);
        let error = of_der(&blob).unwrap_err().to_string();
        assert_eq!(error, "entitlements are nested too deep");
    }

    #[test]
    fn keys_are_in_order_and_there_once() {
        let entry = [0x30, 6, 0x0c, 1, b'a', 1, 1, 0];
        let mut blob = vec![0x70, 21, 2, 1, 1, 0xb0, 16];
        blob.extend(entry);
        blob.extend(entry);
        assert!(of_der(&blob).unwrap_err().to_string().contains("\"a\""));
    }
}
