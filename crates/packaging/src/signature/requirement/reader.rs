//! From codes to expressions.

use super::super::bytes::{Malformed, be32, be64, part};
use super::{Comparison, Expression, Position, Test, extension_field};

/// Deeper than any requirement that a tool writes.
const DEPTH_MAX: u32 = 64;
/// The bits of a code that say what a system does that does not know it; its length follows then.
const LENGTH_FOLLOWS: u32 = 0xc000_0000;

/// All of the bytes as one expression.
pub(super) fn read(codes: &[u8]) -> Result<Expression, Malformed> {
    let mut reader = Reader { codes, offset: 0 };
    let expression = reader.expression(DEPTH_MAX)?;
    match reader.offset == codes.len() as u64 {
        true => Ok(expression),
        false => Err(Malformed::new("something follows the requirement")),
    }
}

struct Reader<'a> {
    codes: &'a [u8],
    offset: u64,
}

impl<'a> Reader<'a> {
    fn expression(&mut self, depth: u32) -> Result<Expression, Malformed> {
        let deeper = depth.checked_sub(1);
        let depth = deeper.ok_or_else(|| Malformed::new("a requirement is nested too deep"))?;
        let code = self.number()?;
        let joined = |reader: &mut Self| {
            let one = Box::new(reader.expression(depth)?);
            Ok((one, Box::new(reader.expression(depth)?)))
        };
        match code {
            6 => joined(self).map(|(one, other)| Expression::And(one, other)),
            7 => joined(self).map(|(one, other)| Expression::Or(one, other)),
            9 => Ok(Expression::Not(Box::new(self.expression(depth)?))),
            11 | 14 | 17 | 22 => self.certificate(code),
            _ => self.simple(code),
        }
    }

    fn simple(&mut self, code: u32) -> Result<Expression, Malformed> {
        Ok(match code {
            0 => Expression::Never,
            1 => Expression::Always,
            2 => Expression::Identifier(self.text()?),
            3 => Expression::AppleAnchor,
            4 => Expression::CertificateHash {
                certificate: self.position()?,
                hash: self.data()?.to_vec(),
            },
            5 => Expression::Info {
                key: self.text()?,
                test: Test::Compares(Comparison::Equal, self.data()?.to_vec()),
            },
            8 => Expression::CodeDirectoryHash(self.data()?.to_vec()),
            10 => Expression::Info {
                key: self.text()?,
                test: self.test()?,
            },
            12 => Expression::Trusted(self.position()?),
            13 => Expression::SomeTrusted,
            15 => Expression::AppleGenericAnchor,
            16 => Expression::Entitlement {
                key: self.text()?,
                test: self.test()?,
            },
            18 => Expression::NamedAnchor(self.text()?),
            19 => Expression::NamedCode(self.text()?),
            20 => Expression::Platform(self.number()?),
            21 => Expression::Notarized,
            23 => Expression::LegacyDeveloperId,
            _ if code & LENGTH_FOLLOWS != 0 => {
                self.data()?;
                Expression::Unknown(code)
            }
            _ => {
                return Err(Malformed(format!(
                    "a requirement has the unknown code {code}"
                )));
            }
        })
    }

    fn certificate(&mut self, code: u32) -> Result<Expression, Malformed> {
        let certificate = self.position()?;
        let field = match code {
            11 => self.text()?,
            14 => extension_field(self.data()?)?,
            17 => extension_field(self.data()?)?.replacen("field", "policy", 1),
            _ => extension_field(self.data()?)?.replacen("field", "timestamp", 1),
        };
        Ok(Expression::Certificate {
            certificate,
            field,
            test: self.test()?,
        })
    }

    fn test(&mut self) -> Result<Test, Malformed> {
        let code = self.number()?;
        let comparison = match code {
            0 => return Ok(Test::Exists),
            14 => return Ok(Test::Absent),
            1 | 9 => Comparison::Equal,
            2 => Comparison::Contains,
            3 => Comparison::BeginsWith,
            4 => Comparison::EndsWith,
            5 | 10 => Comparison::Less,
            6 | 11 => Comparison::Greater,
            7 | 12 => Comparison::LessOrEqual,
            8 | 13 => Comparison::GreaterOrEqual,
            _ => {
                return Err(Malformed(format!(
                    "a requirement has the unknown test {code}"
                )));
            }
        };
        if code < 9 {
            return Ok(Test::Compares(comparison, self.data()?.to_vec()));
        }
        let seconds = be64(self.codes, self.offset, "a time in a requirement")?;
        self.offset += 8;
        Ok(Test::Time(comparison, seconds.cast_signed()))
    }

    fn position(&mut self) -> Result<Position, Malformed> {
        Ok(Position(self.number()?.cast_signed()))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.data()?);
        let text = text.map_err(|_| Malformed::new("a text in a requirement is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u64::from(self.number()?);
        let data = part(self.codes, self.offset, length, "a value in a requirement")?;
        self.offset += length.next_multiple_of(4);
        Ok(data)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        let number = be32(self.codes, self.offset, "a requirement's next code")?;
        self.offset += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn number(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = number(u32::try_from(text.len()).unwrap()).to_vec();
        bytes.extend(text.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn every_code_has_its_words() {
        let (zero, one) = (number(0), number(1));
        let oid = [0, 0, 0, 3, 0x2a, 0x86, 0x48, 0];
        for (bytes, words) in [
            (codes(&[&number(0)]), "never"),
            (codes(&[&number(1)]), "always"),
            (codes(&[&number(2), &text("a.b")]), "identifier \"a.b\""),
            (codes(&[&number(3)]), "anchor apple"),
            (
                codes(&[&number(4), &zero, &text("AB")]),
                "certificate leaf = H\"4142\"",
            ),
            (
                codes(&[&number(5), &text("k"), &text("v")]),
                "info[k] = \"v\"",
            ),
            (codes(&[&number(8), &text("AB")]), "cdhash H\"4142\""),
            (codes(&[&number(9), &number(21)]), "! notarized"),
            (
                codes(&[&number(10), &text("k"), &number(2), &text("v")]),
                "info[k] ~ \"v\"",
            ),
            (
                codes(&[&number(11), &zero, &text("subject.OU"), &one, &text("T")]),
                "certificate leaf[subject.OU] = \"T\"",
            ),
            (
                codes(&[&number(12), &number(u32::MAX)]),
                "certificate root trusted",
            ),
            (codes(&[&number(13)]), "anchor trusted"),
            (
                codes(&[&number(14), &one, &oid, &zero]),
                "certificate 1[field.1.2.840] /* exists */",
            ),
            (codes(&[&number(15)]), "anchor apple generic"),
            (
                codes(&[&number(16), &text("k"), &zero]),
                "entitlement[\"k\"] /* exists */",
            ),
            (
                codes(&[&number(17), &one, &oid, &zero]),
                "certificate 1[policy.1.2.840] /* exists */",
            ),
            (codes(&[&number(18), &text("x")]), "anchor apple \"x\""),
            (codes(&[&number(19), &text("x")]), "(\"x\")"),
            (codes(&[&number(20), &one]), "platform = 1"),
            (
                codes(&[&number(22), &one, &oid, &number(11), &zero, &one]),
                "certificate 1[timestamp.1.2.840] > timestamp 1",
            ),
            (codes(&[&number(23)]), "legacy"),
            (
                codes(&[&number(0x8000_0050), &text("x")]),
                "/* unknown code 0x80000050 */",
            ),
            (codes(&[&number(6), &one, &one]), "always and always"),
            (codes(&[&number(7), &one, &one]), "always or always"),
        ] {
            assert_eq!(read(&bytes).unwrap().to_string(), words);
            assert!(read(&bytes[..bytes.len() - 1]).is_err(), "{words}");
            assert!(read(&codes(&[&bytes, &one])).is_err(), "{words}");
        }
    }

    #[test]
    fn an_unknown_code_is_reported() {
        let error = read(&number(24)).unwrap_err().to_string();
        assert_eq!(error, "a requirement has the unknown code 24");
        let bytes = codes(&[&number(10), &text("k"), &number(15)]);
        let error = read(&bytes).unwrap_err().to_string();
        assert_eq!(error, "a requirement has the unknown test 15");
    }

    #[test]
    fn depth_is_limited() {
        let bytes = number(9).repeat(100_000);
        let error = read(&bytes).unwrap_err().to_string();
        assert_eq!(error, "a requirement is nested too deep");
    }
}
