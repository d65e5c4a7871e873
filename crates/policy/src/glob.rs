//! Patterns of paths and names.
//!
//! `*` stands for any letters but `/`, `**` for any letters, `?` for one letter but `/`; every
//! other letter stands for itself.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// What comes before the first letter that stands for others; most texts differ there.
    front: Box<str>,
    rest: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Letter(char),
    One,
    Some,
    Any,
}

/// Where matching goes on when what came after a star does not fit: at this token, from this byte.
type Restart = Option<(usize, usize)>;

impl Glob {
    pub(crate) fn new(pattern: &str) -> Glob {
        let front = pattern.find(['*', '?']).unwrap_or(pattern.len());
        let (front, rest) = pattern.split_at(front);
        let mut tokens = Vec::new();
        for letter in rest.chars() {
            match (letter, tokens.last()) {
                ('*', Some(Token::Some | Token::Any)) => {
                    tokens.pop();
                    tokens.push(Token::Any);
                }
                ('*', _) => tokens.push(Token::Some),
                ('?', _) => tokens.push(Token::One),
                (letter, _) => tokens.push(Token::Letter(letter)),
            }
        }
        Glob {
            front: front.into(),
            rest: tokens,
        }
    }

    /// Whether the pattern is a text like any other.
    pub(crate) fn is_plain(pattern: &str) -> bool {
        !pattern.contains(['*', '?'])
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let rest = text.strip_prefix(&*self.front);
        rest.is_some_and(|rest| self.rest_matches(rest))
    }

    /// In time proportional to the pattern times the text, and no worse: a star that came before
    /// another of its kind need never be tried again.
    fn rest_matches(&self, text: &str) -> bool {
        let (mut token, mut at) = (0, 0);
        let (mut some, mut any): (Restart, Restart) = (None, None);
        loop {
            let letter = text[at..].chars().next();
            let fits = match (self.rest.get(token), letter) {
                (None, None) => return true,
                (Some(Token::Some), _) => {
                    some = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(Token::Any), _) => {
                    any = Some((token + 1, at));
                    some = None;
                    token += 1;
                    continue;
                }
                (Some(Token::Letter(wanted)), Some(letter)) => *wanted == letter,
                (Some(Token::One), Some(letter)) => letter != '/',
                (None, Some(_)) | (Some(Token::Letter(_) | Token::One), None) => false,
            };
            if fits {
                token += 1;
                at += letter.map_or(0, char::len_utf8);
            } else if !go_back(text, &mut some, &mut any, (&mut token, &mut at)) {
                return false;
            }
        }
    }
}

/// Lets the last star take one letter more, or the last double star when that one cannot.
fn go_back(
    text: &str,
    some: &mut Restart,
    any: &mut Restart,
    (token, at): (&mut usize, &mut usize),
) -> bool {
    if let Some((behind, from)) = some {
        match text[*from..].chars().next() {
            Some(letter) if letter != '/' => {
                *from += letter.len_utf8();
                (*token, *at) = (*behind, *from);
                return true;
            }
            Some(_) | None => *some = None,
        }
    }
    if let Some((behind, from)) = any
        && let Some(letter) = text[*from..].chars().next()
    {
        *from += letter.len_utf8();
        (*token, *at) = (*behind, *from);
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample::Random;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).matches(text)
    }

    #[test]
    fn stars_stay_within_a_folder_and_double_stars_do_not() {
        for (pattern, text) in [
            ("/usr/bin/curl", "/usr/bin/curl"),
            ("/usr/*/curl", "/usr/bin/curl"),
            ("/opt/**", "/opt/vpn/bin/client"),
            ("/opt/**/client", "/opt/vpn/bin/client"),
            ("**/client", "/opt/vpn/bin/client"),
            ("fire*", "firefox"),
            ("f?refox", "firefox"),
            ("*", ""),
            ("/srv/*/bin/**", "/srv/ana/bin/a/b"),
            ("**é?", "aéé"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/usr/bin/curl", "/usr/bin/curl2"),
            ("/opt/*", "/opt/vpn/client"),
            ("/usr/?", "/usr//"),
            ("fire", "firefox"),
            ("?", ""),
            ("/opt/**/x", "/opt/vpn/y"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    fn tokens(pattern: &str) -> Vec<Token> {
        let Glob { front, rest } = Glob::new(pattern);
        front.chars().map(Token::Letter).chain(rest).collect()
    }

    /// Slow and plainly right.
    fn by_definition(tokens: &[Token], text: &str) -> bool {
        let Some((first, rest)) = tokens.split_first() else {
            return text.is_empty();
        };
        let mut letters = text.chars();
        let letter = letters.next();
        let behind = letters.as_str();
        match first {
            Token::Letter(wanted) => letter == Some(*wanted) && by_definition(rest, behind),
            Token::One => letter.is_some_and(|it| it != '/') && by_definition(rest, behind),
            Token::Some => {
                by_definition(rest, text)
                    || letter.is_some_and(|it| it != '/') && by_definition(tokens, behind)
            }
            Token::Any => {
                by_definition(rest, text) || letter.is_some() && by_definition(tokens, behind)
            }
        }
    }

    #[test]
    fn it_agrees_with_its_definition() {
        let mut random = Random::new(1);
        let text = |random: &mut Random, letters: &[char], length: u64| -> String {
            (0..random.below(length))
                .map(|_| random.pick(letters))
                .collect()
        };
        let mut matched = 0;
        for _ in 0..50_000 {
            let pattern = text(&mut random, &['a', 'b', '/', '*', '*', '?'], 9);
            let text = text(&mut random, &['a', 'a', 'b', '/'], 10);
            let expected = by_definition(&tokens(&pattern), &text);
            assert_eq!(matches(&pattern, &text), expected, "{pattern} {text}");
            matched += u32::from(expected);
        }
        assert!(matched > 1_000, "{matched}");
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = "**a*".repeat(120);
        assert!(!matches(&(pattern + "b"), &"a".repeat(5_000)));
    }
}
