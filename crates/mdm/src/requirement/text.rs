//! Requirements as people and tools write them, as far as they are a list of things that must hold.

use super::{Certificate, Clause, Requirement};
use std::iter::Peekable;
use std::str::Chars;

/// Why a text was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Longer than any requirement.
    #[error("it is longer than 16 KiB")]
    TooLong,
    /// A comment or a text in quotes has no end.
    #[error("a comment or a quoted text has no end")]
    Open,
    /// Correct perhaps, and more than is compared here.
    #[error(
        "it is more than identifier, anchor apple generic and certificates, joined by \"and\": it \
         could not be followed from \"{0}\" on"
    )]
    Beyond(String),
}

const TEXT_MAX_BYTES: usize = 16 << 10;

/// Parentheses around the whole or around single parts.
const DEPTH_MAX: usize = 32;

/// Reads the text of a requirement: identifier, `anchor apple generic`, extensions and subjects of
/// certificates, joined by `and`, with or without comments, parentheses, quotes, the word `exists`
/// and the beginning `designated =>`.
///
/// # Errors
/// When it is anything else.
pub fn parse(text: &str) -> Result<Requirement, ParseError> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(ParseError::TooLong);
    }
    let words = words(text)?;
    let mut words = words.as_slice();
    if let [
        Word::Bare(first),
        Word::Sign('='),
        Word::Sign('>'),
        rest @ ..,
    ] = words
        && first == "designated"
    {
        words = rest;
    }
    if words.is_empty() {
        return Err(ParseError::Empty);
    }
    let mut clauses = Vec::new();
    let rest = conjunction(words, 0, &mut clauses)?;
    match rest {
        [] => Ok(Requirement { clauses }),
        _ => Err(beyond(rest)),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Bare(String),
    Quoted(String),
    Sign(char),
}

fn words(text: &str) -> Result<Vec<Word>, ParseError> {
    let mut out = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'*') => comment(&mut letters)?,
            '/' if letters.peek() == Some(&'/') => line_comment(&mut letters),
            '#' => line_comment(&mut letters),
            '"' => out.push(Word::Quoted(quoted(&mut letters)?)),
            _ if letter.is_whitespace() => {}
            _ if is_bare(letter) => {
                let mut word = letter.to_string();
                while let Some(next) = letters.next_if(|it| is_bare(*it)) {
                    word.push(next);
                }
                out.push(Word::Bare(word));
            }
            _ => out.push(Word::Sign(letter)),
        }
    }
    Ok(out)
}

fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

fn comment(letters: &mut Peekable<Chars<'_>>) -> Result<(), ParseError> {
    letters.next();
    while let Some(letter) = letters.next() {
        if letter == '*' && letters.next_if_eq(&'/').is_some() {
            return Ok(());
        }
    }
    Err(ParseError::Open)
}

fn line_comment(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|it| *it != '\n').is_some() {}
}

fn quoted(letters: &mut Peekable<Chars<'_>>) -> Result<String, ParseError> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(text),
            '\\' => text.extend(letters.next()),
            _ => text.push(letter),
        }
    }
    Err(ParseError::Open)
}

/// What comes after the clauses.
fn conjunction<'a>(
    mut words: &'a [Word],
    depth: usize,
    clauses: &mut Vec<Clause>,
) -> Result<&'a [Word], ParseError> {
    if depth > DEPTH_MAX {
        return Err(beyond(words));
    }
    loop {
        words = match words {
            [Word::Sign('('), rest @ ..] => match conjunction(rest, depth + 1, clauses)? {
                [Word::Sign(')'), rest @ ..] => rest,
                rest => return Err(beyond(rest)),
            },
            _ => {
                let (clause, rest) = clause(words)?;
                clauses.push(clause);
                rest
            }
        };
        match words {
            [Word::Bare(and), rest @ ..] if and == "and" => words = rest,
            _ => return Ok(words),
        }
    }
}

fn clause(words: &[Word]) -> Result<(Clause, &[Word]), ParseError> {
    let found = match words {
        [Word::Bare(word), rest @ ..] => match word.as_str() {
            "identifier" => identifier(rest),
            "anchor" => anchor(rest),
            "certificate" | "cert" => certificate(rest),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| beyond(words))
}

fn identifier(words: &[Word]) -> Option<(Clause, &[Word])> {
    let words = match words {
        [Word::Sign('='), rest @ ..] => rest,
        _ => words,
    };
    let (value, rest) = value(words)?;
    Some((Clause::Identifier(value.to_owned()), rest))
}

fn anchor(words: &[Word]) -> Option<(Clause, &[Word])> {
    match words {
        [Word::Bare(apple), Word::Bare(generic), rest @ ..]
            if apple == "apple" && generic == "generic" =>
        {
            Some((Clause::AnchorAppleGeneric, rest))
        }
        _ => None,
    }
}

fn certificate(words: &[Word]) -> Option<(Clause, &[Word])> {
    let [
        Word::Bare(which),
        Word::Sign('['),
        Word::Bare(field),
        Word::Sign(']'),
        rest @ ..,
    ] = words
    else {
        return None;
    };
    let certificate = match which.as_str() {
        "leaf" | "0" => Certificate::Leaf,
        "1" => Certificate::Issuer,
        _ => return None,
    };
    if let Some(oid) = field.strip_prefix("field.") {
        let rest = match rest {
            [Word::Bare(exists), rest @ ..] if exists == "exists" => rest,
            _ => rest,
        };
        let oid = oid.to_owned();
        return Some((Clause::Extension { certificate, oid }, rest));
    }
    let field = field.strip_prefix("subject.")?;
    let [Word::Sign('='), rest @ ..] = rest else {
        return None;
    };
    let (value, rest) = value(rest)?;
    let clause = Clause::Subject {
        certificate,
        field: field.to_owned(),
        value: value.to_owned(),
    };
    Some((clause, rest))
}

/// A text to compare with. A wildcard after it is left for whoever reads on, and is not followed.
fn value(words: &[Word]) -> Option<(&str, &[Word])> {
    match words {
        [Word::Bare(text) | Word::Quoted(text), rest @ ..] => Some((text, rest)),
        _ => None,
    }
}

fn beyond(words: &[Word]) -> ParseError {
    const SHOWN_MAX_CHARS: usize = 60;
    let shown = words.iter().take(8).map(|word| match word {
        Word::Bare(text) => text.clone(),
        Word::Quoted(text) => super::quoted(text),
        Word::Sign(sign) => sign.to_string(),
    });
    let shown = shown.collect::<Vec<_>>().join(" ");
    ParseError::Beyond(shown.chars().take(SHOWN_MAX_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Signer;

    fn designated(signer: &Signer) -> Requirement {
        let identifier = "org.example.filter".parse().unwrap();
        let team = "AB12CD34EF".parse().unwrap();
        Requirement::designated(&identifier, &team, signer)
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for signer in [
            Signer::DeveloperId,
            Signer::Development {
                common_name: "Apple Development: \"A\\B\" (X)".to_owned(),
            },
        ] {
            let requirement = designated(&signer);
            assert_eq!(parse(&requirement.to_string()), Ok(requirement));
        }
    }

    #[test]
    fn all_ways_to_write_the_same_are_the_same() {
        let expected = designated(&Signer::DeveloperId);
        for text in [
            "identifier org.example.filter and anchor apple generic and certificate \
             1[field.1.2.840.113635.100.6.2.6] exists and certificate \
             leaf[field.1.2.840.113635.100.6.1.13] exists and certificate leaf[subject.OU] = \
             AB12CD34EF",
            "designated => identifier \"org.example.filter\" and anchor apple generic and \
             certificate 1[field.1.2.840.113635.100.6.2.6] and cert \
             leaf[field.1.2.840.113635.100.6.1.13] /* exists */ and cert 0 [subject.OU]=AB12CD34EF",
            "# ours\n(identifier = \"org.example.filter\") and (anchor apple generic and \
             (certificate 1[field.1.2.840.113635.100.6.2.6] /* exists */)) // Apple\n and \
             certificate leaf[field.1.2.840.113635.100.6.1.13] /* exists */ and \
             certificate leaf[subject.OU] = \"AB12CD34EF\"",
        ] {
            assert_eq!(parse(text), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_list_of_what_must_hold_is_not_guessed() {
        for text in [
            "identifier a or identifier b",
            "! identifier a",
            "not identifier a",
            "anchor apple",
            "anchor trusted",
            "anchor apple generic and certificate leaf[subject.CN] = \"Apple\"*",
            "anchor apple generic and certificate leaf[subject.OU] exists",
            "certificate root = H\"00\"",
            "certificate 2[field.1.2.3]",
            "certificate leaf[field.1.2.3] = x",
            "cdhash H\"0011\"",
            "info [CFBundleVersion] >= 3",
            "identifier a and",
            "identifier a identifier b",
            "(identifier a",
            "identifier a)",
            "identifier",
            "and",
        ] {
            assert!(matches!(parse(text), Err(ParseError::Beyond(_))), "{text}");
        }
        for text in ["identifier \"a", "identifier a /* b", "identifier \"\\"] {
            assert_eq!(parse(text), Err(ParseError::Open), "{text}");
        }
        assert_eq!(parse(" /* nothing */ "), Err(ParseError::Empty));
        assert_eq!(parse(&"(".repeat(17_000)), Err(ParseError::TooLong));
        assert!(parse(&"(".repeat(16_000)).is_err());
    }
}
