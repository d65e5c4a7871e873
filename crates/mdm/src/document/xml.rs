//! Property lists in XML.

use super::{Budget, DEPTH_MAX, Error, KEYS_TWICE_MAX};
use crate::value::{Dictionary, Value, from_base64};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

/// Reads one; keys that stand twice in one dictionary go into `keys_twice`.
pub(super) fn read(bytes: &[u8], keys_twice: &mut Vec<String>) -> Result<Value, Error> {
    let text = decoded(bytes)?;
    if !text.trim_start().starts_with('<') {
        return Err(Error::Strange);
    }
    let mut reader = Reader::from_str(&text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    config.check_end_names = true;
    let mut reading = Reading {
        reader,
        open: Vec::new(),
        budget: Budget::new(),
        keys_twice,
    };
    reading.run()
}

/// UTF-8, with or without a mark of the byte order; and UTF-16 where a mark says so.
fn decoded(bytes: &[u8]) -> Result<String, Error> {
    let units = |of: fn([u8; 2]) -> u16| -> Vec<u16> {
        let pairs = bytes[2..].chunks_exact(2);
        pairs.map(|pair| of([pair[0], pair[1]])).collect()
    };
    let wide = match bytes {
        [0xff, 0xfe, ..] => Some(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Some(units(u16::from_be_bytes)),
        _ => None,
    };
    if let Some(wide) = wide {
        return String::from_utf16(&wide).map_err(|_| Error::Strange);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let begins_as_xml = bytes.trim_ascii_start().starts_with(b"<");
    let text = std::str::from_utf8(bytes).map_err(|error| match begins_as_xml {
        true => Error::Xml {
            at: error.valid_up_to() as u64,
            what: "the text is not UTF-8".to_owned(),
        },
        false => Error::Strange,
    })?;
    Ok(text.to_owned())
}

struct Reading<'a> {
    reader: Reader<&'a [u8]>,
    open: Vec<Open>,
    budget: Budget,
    keys_twice: &'a mut Vec<String>,
}

/// An element that has begun.
enum Open {
    List(Vec<Value>),
    Dictionary(Dictionary, Option<String>),
    Leaf(Leaf, String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Key,
    Text,
    Integer,
    Real,
    Date,
    Data,
    Boolean(bool),
}

impl Reading<'_> {
    fn run(&mut self) -> Result<Value, Error> {
        let mut has_begun = false;
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err(self.wrong(&error.to_string())),
            };
            match event {
                Event::Start(start) if start.name().as_ref() == "plist" => has_begun = true,
                Event::Start(_) if !has_begun => {
                    return Err(self.wrong("the first element is not <plist>"));
                }
                Event::Start(start) => self.begin(start.name().as_ref())?,
                Event::End(_) => {
                    if let Some(value) = self.end()? {
                        return Ok(value);
                    }
                }
                Event::Text(text) => self.text(&text.xml_content(XmlVersion::Implicit1_0))?,
                Event::CData(text) => self.text(&text.xml_content(XmlVersion::Implicit1_0))?,
                Event::GeneralRef(reference) => {
                    let text = self.resolved(&reference)?;
                    self.text(&text)?;
                }
                Event::Eof => return Err(self.wrong("it ends in the middle")),
                Event::Empty(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_) => {}
            }
        }
    }

    fn begin(&mut self, name: &str) -> Result<(), Error> {
        if let Some(Open::Leaf(..)) = self.open.last() {
            return Err(self.wrong("an element stands where only text can"));
        }
        let leaf = |leaf| Open::Leaf(leaf, String::new());
        let open = match name {
            "array" => Open::List(Vec::new()),
            "dict" => Open::Dictionary(Dictionary::new(), None),
            "key" => leaf(Leaf::Key),
            "string" => leaf(Leaf::Text),
            "integer" => leaf(Leaf::Integer),
            "real" => leaf(Leaf::Real),
            "date" => leaf(Leaf::Date),
            "data" => leaf(Leaf::Data),
            "true" => leaf(Leaf::Boolean(true)),
            "false" => leaf(Leaf::Boolean(false)),
            _ => return Err(self.wrong("an element is none of a property list")),
        };
        if self.open.len() >= DEPTH_MAX {
            return Err(Error::Beyond);
        }
        self.open.push(open);
        Ok(())
    }

    /// The whole value, when it is complete.
    fn end(&mut self) -> Result<Option<Value>, Error> {
        let value = match self.open.pop() {
            None => return Err(self.wrong("<plist> has no value in it")),
            Some(Open::List(values)) => Value::List(values),
            Some(Open::Dictionary(_, Some(_))) => return Err(self.wrong("a key has no value")),
            Some(Open::Dictionary(entries, None)) => Value::Dictionary(entries),
            Some(Open::Leaf(Leaf::Key, text)) => return self.key(text).map(|()| None),
            Some(Open::Leaf(leaf, text)) => self.leaf(leaf, text)?,
        };
        self.budget.take(0)?;
        match self.open.last_mut() {
            None => return Ok(Some(value)),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Dictionary(entries, key)) => match key.take() {
                Some(key) => {
                    if entries.contains_key(&key) && self.keys_twice.len() < KEYS_TWICE_MAX {
                        self.keys_twice.push(key.clone());
                    }
                    entries.insert(key, value);
                }
                None => return Err(self.wrong("a value has no key")),
            },
            Some(Open::Leaf(..)) => return Err(self.wrong("a value stands in a text")),
        }
        Ok(None)
    }

    fn key(&mut self, text: String) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(Open::Dictionary(_, key @ None)) => {
                *key = Some(text);
                Ok(())
            }
            Some(_) | None => Err(self.wrong("a key stands where none can")),
        }
    }

    fn leaf(&self, leaf: Leaf, text: String) -> Result<Value, Error> {
        Ok(match leaf {
            Leaf::Key | Leaf::Text => Value::Text(text),
            Leaf::Boolean(value) => Value::Boolean(value),
            Leaf::Real => Value::Real(text.trim().to_owned()),
            Leaf::Date => Value::Date(text.trim().to_owned()),
            Leaf::Integer => integer(text.trim()).ok_or_else(|| self.wrong("no whole number"))?,
            Leaf::Data => {
                let bytes = from_base64(&text);
                Value::Data(bytes.ok_or_else(|| self.wrong("no base64"))?)
            }
        })
    }

    fn text(&mut self, more: &str) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(Open::Leaf(_, text)) => {
                self.budget.bytes = self
                    .budget
                    .bytes
                    .checked_sub(more.len())
                    .ok_or(Error::Beyond)?;
                text.push_str(more);
                Ok(())
            }
            _ if more.trim().is_empty() => Ok(()),
            Some(_) | None => Err(self.wrong("text stands outside of a value")),
        }
    }

    fn resolved(&self, reference: &BytesRef<'_>) -> Result<String, Error> {
        if let Ok(Some(letter)) = reference.resolve_char_ref() {
            return Ok(letter.to_string());
        }
        let name = reference.xml_content(XmlVersion::Implicit1_0);
        let text = resolve_xml_entity(&name);
        text.map(str::to_owned)
            .ok_or_else(|| self.wrong("an entity is none of XML"))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Xml {
            at: self.reader.buffer_position(),
            what: what.chars().take(200).collect(),
        }
    }
}

fn integer(text: &str) -> Option<Value> {
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    if let Some(digits) = hexadecimal {
        return i64::from_str_radix(digits, 16).ok().map(Value::Integer);
    }
    match text.parse() {
        Ok(number) => Some(Value::Integer(number)),
        Err(_) if text.parse::<u64>().is_ok() => Some(Value::Real(text.to_owned())),
        Err(_) => None,
    }
}
