//! As much of XML as the files of a package have: elements, attributes, text.

use super::Error;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deeper than any file of a package.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, String)>,
    /// The elements in it, in order.
    pub children: Vec<Element>,
    /// All text directly in it, without white space around it.
    pub text: String,
}

impl Element {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|it| it.0 == name);
        found.map(|it| it.1.as_str())
    }

    /// The elements in it of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |it| it.name == name)
    }

    /// The first element in it of a name.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a Element> {
        self.all(name).next()
    }
}

/// Text that can stand in an element or in an attribute.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, refers to entities of its own, or is nested too deeply.
pub fn parse(document: &[u8]) -> Result<Element, Error> {
    let text = std::str::from_utf8(document).map_err(|_| Error::new("XML", "not UTF-8"))?;
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let at = reader.buffer_position();
        let event = reader
            .read_event()
            .map_err(|error| Error::new("XML", error.to_string()))?;
        if matches!(event, Event::Eof) {
            break;
        }
        take(event, &mut open)
            .map_err(|problem| Error::new("XML", format!("at byte {at}: {problem}")))?;
    }
    let document = open.pop().filter(|_| open.is_empty());
    let mut elements = document.map(|it| it.children).unwrap_or_default();
    match elements.len() {
        1 => Ok(elements.remove(0)),
        _ => Err(Error::new("XML", "not exactly one outermost element")),
    }
}

fn take(event: Event<'_>, open: &mut Vec<Element>) -> Result<(), String> {
    match event {
        Event::Start(start) if open.len() < DEPTH_MAX => open.push(element(&start)?),
        Event::Start(_) => return Err("nested too deeply".to_owned()),
        Event::Empty(start) => innermost(open)?.children.push(element(&start)?),
        Event::End(_) => {
            let mut done = open.pop().ok_or("an end without a start")?;
            done.text = done.text.trim().to_owned();
            innermost(open)?.children.push(done);
        }
        Event::Text(text) => innermost(open)?.text.push_str(&text),
        Event::GeneralRef(name) => {
            let text = unescaped(&format!("&{};", &*name))?;
            innermost(open)?.text.push_str(&text);
        }
        Event::CData(_) | Event::DocType(_) => {
            return Err("only elements, attributes and text are understood".to_owned());
        }
        Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => {}
    }
    Ok(())
}

fn innermost(open: &mut [Element]) -> Result<&mut Element, String> {
    open.last_mut()
        .ok_or_else(|| "an end without a start".to_owned())
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let name = attribute.key.as_ref().to_owned();
        attributes.push((name, unescaped(&attribute.value)?));
    }
    Ok(Element {
        name: start.name().as_ref().to_owned(),
        attributes,
        ..Element::default()
    })
}

fn unescaped(text: &str) -> Result<String, String> {
    let text = quick_xml::escape::unescape(text).map_err(|error| error.to_string())?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_text_are_read() {
        let document = b"<?xml version=\"1.0\"?><a x=\"1&amp;2\"><b/><b y='2'> t &lt; u </b></a>";
        let a = parse(document).unwrap();
        assert_eq!((a.name.as_str(), a.attribute("x")), ("a", Some("1&2")));
        let b: Vec<_> = a.all("b").map(|it| it.text.as_str()).collect();
        assert_eq!(b, ["", "t < u"]);
        assert_eq!(a.first("c"), None);
    }

    #[test]
    fn what_is_escaped_comes_back() {
        let text = "a<b>&\"c'd";
        let document = format!("<a x=\"{0}\">{0}</a>", escaped(text));
        let a = parse(document.as_bytes()).unwrap();
        assert_eq!((a.text.as_str(), a.attribute("x")), (text, Some(text)));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for wrong in [
            "",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a x='1' x='2'/>",
            "<a>&b;</a>",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        assert!(parse(deep.as_bytes()).is_err());
    }
}
