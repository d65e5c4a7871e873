//! Takes out what nobody should send to somebody else: what follows words such as "password",
//! private keys, and the names of users in paths.
//!
//! Too much is better than too little: text of others has no grammar that could be relied on.

/// In the place of what was taken out.
const REPLACED: &str = "(not shown)";

/// After these the rest of the line goes, unless the value is quoted.
const SECRETS: &[&str] = &[
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "secret",
];

/// After these one word goes: they stand in harmless places too.
const PERHAPS_SECRETS: &[&str] = &["token", "key", "pwd", "signature"];

/// Where homes are.
const HOMES: &[&str] = &["Users", "home"];

/// The text without secrets.
pub(super) fn redact(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        let is_border = line.contains("-----") && line.contains("PRIVATE KEY");
        if is_border {
            in_key = line.contains("BEGIN") && !line.contains("-----END");
            lines.push_str(REPLACED);
            lines.push('\n');
        } else if !in_key {
            lines.push_str(&without_users(&without_secrets(line)));
        }
    }
    lines
}

/// A sentence without whatever it quotes.
pub(super) fn without_quotes(text: &str) -> String {
    let mut parts = text.split('"');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    // What stands at even places is outside; without a closing quote the rest is inside.
    while let (Some(_), outside) = (parts.next(), parts.next()) {
        kept.push_str(REPLACED);
        kept.push_str(outside.unwrap_or_default());
    }
    kept
}

/// Looks for `name = value`, `"name": "value"`, `--name value`, `<key>name</key><string>value` and
/// the like, wherever the name has one of the words in it.
fn without_secrets(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((name_end, is_certain)) = next_name(rest) {
        let (before, after) = rest.split_at(name_end);
        kept.push_str(before);
        rest = after;
        let Some(gap) = gap_before_value(before, after, is_certain) else {
            continue;
        };
        let (gap, value) = after.split_at(gap);
        kept.push_str(gap);
        let length = value_length(value, is_certain);
        // A quoted value stays one, so that JSON stays JSON.
        let quote = if value.starts_with('"') { "\"" } else { "" };
        if length > 0 {
            kept.extend([quote, REPLACED, quote]);
        }
        rest = &value[length..];
    }
    kept + rest
}

/// Where the next name with one of the words in it ends, and whether that word is a certain one.
fn next_name(text: &str) -> Option<(usize, bool)> {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|it| is_part(**it)).count();
        // All of it is ASCII, so both ends are between letters.
        let name = text[at..at + length].to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(SECRETS) {
            return Some((at + length, true));
        }
        if has(PERHAPS_SECRETS) {
            return Some((at + length, false));
        }
        at += length;
        at += bytes[at..].iter().take_while(|it| !is_part(**it)).count();
    }
    None
}

/// How much stands between a name and its value; `None` where no value follows.
fn gap_before_value(before: &str, after: &str, is_certain: bool) -> Option<usize> {
    let is_gap = |it: char| it.is_whitespace() || matches!(it, '"' | '\'' | '\\' | ']' | '>');
    let separator = after.trim_start_matches(is_gap);
    let mut value = separator.trim_start_matches(['=', ':', '>']);
    if let Some(inner) = after.strip_prefix("</key>") {
        let open = inner.trim_start();
        value = open.split_once('>').map_or(open, |(_, value)| value);
    } else if value.len() == separator.len() {
        // A word alone is followed by its value only as an option or a scheme.
        let name = before.rsplit(|it: char| it.is_whitespace()).next()?;
        let is_scheme = name.to_ascii_lowercase().ends_with("bearer");
        let spaced = after.trim_start_matches(' ');
        if !(name.starts_with("--") || is_scheme || is_certain && spaced.len() < after.len()) {
            return None;
        }
        value = spaced;
    }
    let value = value.trim_start_matches([' ', '\t', '\\']);
    Some(after.len() - value.len())
}

/// How much of a text is the value.
fn value_length(value: &str, is_certain: bool) -> usize {
    let quote = value.chars().next().filter(|it| matches!(it, '"' | '\''));
    if let Some(quote) = quote {
        let mut is_escaped = false;
        let close = value[1..].find(|letter| {
            let ends = letter == quote && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            ends
        });
        return close.map_or(value.trim_end().len(), |close| close + 2);
    }
    let end = match is_certain {
        true => value.find(['\n', '<']),
        false => value.find(|it: char| it.is_whitespace() || ",;&)}]<\"'".contains(it)),
    };
    value[..end.unwrap_or(value.len())].trim_end().len()
}

fn without_users(line: &str) -> String {
    let mut text = line.to_owned();
    for home in HOMES {
        let home = format!("/{home}/");
        let mut parts = text.split(&home);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_end = |it: char| it == '/' || it.is_whitespace() || "\"'<>,;:)".contains(it);
            let end = part.find(is_end).unwrap_or(part.len());
            kept.push_str(&home);
            kept.push_str(if end > 0 { "~" } else { "" });
            kept.push_str(&part[end..]);
        }
        text = kept;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_follows_a_secrets_name_goes() {
        for (text, expected) in [
            ("password=hush hush", "password=(not shown)"),
            (
                "Password: \"hush, hush\", next=1",
                "Password: \"(not shown)\", next=1",
            ),
            (
                "{\"api_token\": \"hu\\\"sh\", \"a\": 1}",
                "{\"api_token\": \"(not shown)\", \"a\": 1}",
            ),
            (
                "{\\\"secret\\\":\\\"hush\\\"}",
                "{\\\"secret\\\":\\\"(not shown)\"",
            ),
            (
                "url?access_token=hush&b=2",
                "url?access_token=(not shown)&b=2",
            ),
            ("key=hush;b", "key=(not shown);b"),
            ("Authorization: Bearer hush", "Authorization: (not shown)"),
            ("sent Bearer hush", "sent Bearer (not shown)"),
            ("run --token hush now", "run --token (not shown) now"),
            ("run --password hush", "run --password (not shown)"),
            (
                "<key>Password</key> <string>hush</string>",
                "<key>Password</key> <string>(not shown)</string>",
            ),
            (
                "<key>ApiKey</key><string>hush</string>",
                "<key>ApiKey</key><string>(not shown)</string>",
            ),
            ("client-secret => hush", "client-secret => (not shown)"),
            ("ö password=hush", "ö password=(not shown)"),
            ("token: 'hush", "token: (not shown)"),
        ] {
            let text = redact(text);
            assert!(!text.contains("hush"), "{text}");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn harmless_text_stays() {
        for text in [
            "the audit token named nobody\n",
            "2 keys and a monkey\n",
            "source audit_token, confidence likely\n",
            "",
            "ends with a password",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn private_keys_and_names_of_users_go() {
        let key = "a\n-----BEGIN RSA PRIVATE KEY-----\nhush\n-----END RSA PRIVATE KEY-----\nb\n";
        assert_eq!(redact(key), "a\n(not shown)\n(not shown)\nb\n");
        for home in HOMES {
            let paths = format!("\"/{home}/ana/x\" /{home}/ben /{home}/ /{home}/a b:/{home}/c:\n");
            let expected = format!("\"/{home}/~/x\" /{home}/~ /{home}/ /{home}/~ b:/{home}/~:\n");
            assert_eq!(redact(&paths), expected);
        }
    }

    #[test]
    fn what_a_sentence_quotes_goes() {
        assert_eq!(
            without_quotes("a \"hush\" b \"hush"),
            "a (not shown) b (not shown)"
        );
        assert_eq!(without_quotes("nothing"), "nothing");
    }

    #[test]
    fn no_text_makes_it_fail() {
        let words = [
            "password", "=", "\"", " ", "</key>", "--", "key", "ö", "\\", "\n", "/Users/",
        ];
        for number in 0..words.len().pow(4) {
            let mut left = number;
            let mut text = String::new();
            for _ in 0..4 {
                text.push_str(words[left % words.len()]);
                left /= words.len();
            }
            redact(&text);
            without_quotes(&text);
        }
    }
}
