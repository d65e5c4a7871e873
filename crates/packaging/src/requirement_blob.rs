//! A requirement in Apple's binary form, as the signing tool takes it and a signature holds it.
//!
//! The form is that of `requirement.h` and `reqmaker.h` in Apple's published sources of Security:
//! a header of magic, length and kind, and an expression in prefix notation. All numbers are of
//! four bytes, the highest first. Data carries its length and is filled up with zeros to a
//! multiple of four bytes.
//!
//! Two clauses joined by "and" are one operator with two operands, so a list of clauses can nest
//! to the left or to the right. We nest to the right, as `codesign` does in the requirement that
//! it makes by itself; what it compiles from text nests to the left. Both mean the same, and both
//! are found in the field.

use mdm::requirement::{Certificate, Clause, Requirement};
use x509_cert::der::oid::ObjectIdentifier;

/// Why a requirement has no binary form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An extension is not named by numbers.
    #[error(
        "the requirement names the extension \"{0}\", which is no object identifier: numbers with \
         dots between, such as 1.2.840.113635.100.6.1.13"
    )]
    Oid(String),
}

/// What a blob of one requirement begins with (`kSecCodeMagicRequirement`).
pub const MAGIC: u32 = 0xfade_0c00;

/// The only kind of requirement there is: an expression.
const KIND_EXPRESSION: u32 = 1;

const OPERATOR_TRUE: u32 = 1;
const OPERATOR_IDENTIFIER: u32 = 2;
const OPERATOR_AND: u32 = 6;
const OPERATOR_CERTIFICATE_FIELD: u32 = 11;
const OPERATOR_CERTIFICATE_EXTENSION: u32 = 14;
const OPERATOR_ANCHOR_APPLE_GENERIC: u32 = 15;

const MATCH_EXISTS: u32 = 0;
const MATCH_EQUAL: u32 = 1;

/// The whole blob, header included: what `csreq -b` writes, and what `rcodesign` reads from
/// `--code-requirements-file`.
///
/// # Errors
///
/// Names the extension that is no object identifier.
pub fn compile(requirement: &Requirement) -> Result<Vec<u8>, Error> {
    let mut expression = Vec::new();
    if requirement.clauses.is_empty() {
        number(&mut expression, OPERATOR_TRUE);
    }
    for (position, clause) in requirement.clauses.iter().enumerate() {
        if position + 1 < requirement.clauses.len() {
            number(&mut expression, OPERATOR_AND);
        }
        write(&mut expression, clause)?;
    }
    let header = 12;
    let length = u32::try_from(header + expression.len()).expect("a requirement has a few lines");
    let mut blob = Vec::with_capacity(header + expression.len());
    for value in [MAGIC, length, KIND_EXPRESSION] {
        number(&mut blob, value);
    }
    blob.extend(expression);
    Ok(blob)
}

fn write(to: &mut Vec<u8>, clause: &Clause) -> Result<(), Error> {
    match clause {
        Clause::Identifier(identifier) => {
            number(to, OPERATOR_IDENTIFIER);
            data(to, identifier.as_bytes());
        }
        Clause::AnchorAppleGeneric => number(to, OPERATOR_ANCHOR_APPLE_GENERIC),
        Clause::Extension { certificate, oid } => {
            let parsed = ObjectIdentifier::new(oid).map_err(|_| Error::Oid(oid.clone()))?;
            number(to, OPERATOR_CERTIFICATE_EXTENSION);
            number(to, slot(*certificate));
            data(to, parsed.as_bytes());
            number(to, MATCH_EXISTS);
        }
        Clause::Subject {
            certificate,
            field,
            value,
        } => {
            number(to, OPERATOR_CERTIFICATE_FIELD);
            number(to, slot(*certificate));
            data(to, format!("subject.{field}").as_bytes());
            number(to, MATCH_EQUAL);
            data(to, value.as_bytes());
        }
    }
    Ok(())
}

/// The position in the chain, counted from the certificate that signed.
fn slot(certificate: Certificate) -> u32 {
    match certificate {
        Certificate::Leaf => 0,
        Certificate::Issuer => 1,
    }
}

fn number(to: &mut Vec<u8>, value: u32) {
    to.extend(value.to_be_bytes());
}

fn data(to: &mut Vec<u8>, bytes: &[u8]) {
    number(
        to,
        u32::try_from(bytes.len()).expect("a name has a few bytes"),
    );
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdm::identity::Signer;

    fn compiled(identifier: &str, team: &str, signer: &Signer) -> String {
        let identifier = identifier.parse().unwrap();
        let team = team.parse().unwrap();
        let requirement = Requirement::designated(&identifier, &team, signer);
        hexadecimal(&compile(&requirement).unwrap())
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Requirements of programs in the field, as macOS noted them in its database of consents
    /// (TCC); people publish rows of it.
    #[test]
    fn programs_signed_with_a_developer_id_in_the_field_have_these_bytes() {
        assert_eq!(
            compiled(
                "com.oracle.JavaInstallHelper",
                "VB5E2TV963",
                &Signer::DeveloperId
            ),
            "fade0c00000000a80000000100000006000000020000001c636f6d2e6f7261636c652e4a617661496e73\
             74616c6c48656c706572000000060000000f000000060000000e000000010000000a2a864886f7636406\
             0206000000000000000000060000000e000000000000000a2a864886f7636406010d0000000000000000\
             000b000000000000000a7375626a6563742e4f550000000000010000000a564235453254563936330000"
        );
        assert_eq!(
            compiled(
                "com.BlueBubbles.BlueBubbles-Server",
                "WPV275H8W7",
                &Signer::DeveloperId
            ),
            "fade0c00000000b000000001000000060000000200000022636f6d2e426c7565427562626c65732e426c\
             7565427562626c65732d5365727665720000000000060000000f000000060000000e000000010000000a\
             2a864886f76364060206000000000000000000060000000e000000000000000a2a864886f7636406010d\
             0000000000000000000b000000000000000a7375626a6563742e4f550000000000010000000a57505632\
             3735483857370000"
        );
    }

    /// The bytes of such a program, with its names replaced by others of the same length.
    #[test]
    fn a_program_signed_for_development_in_the_field_has_these_bytes() {
        let signer = Signer::Development {
            common_name: "Mac Developer: Jane A. Doe (AB12CD34E5)".to_owned(),
        };
        assert_eq!(
            compiled("com.example.ExampleProgr", "AB12CD34EF", &signer),
            "fade0c00000000a000000001000000060000000200000018636f6d2e6578616d706c652e4578616d706c\
             6550726f6772000000060000000f000000060000000b000000000000000a7375626a6563742e434e0000\
             00000001000000274d616320446576656c6f7065723a204a616e6520412e20446f652028414231324344\
             3334453529000000000e000000010000000a2a864886f76364060201000000000000"
        );
    }

    #[test]
    fn the_length_in_the_header_is_that_of_the_blob() {
        for identifier in ["a.b", "a.bc", "a.bcd", "a.bcde"] {
            let requirement = Requirement::designated(
                &identifier.parse().unwrap(),
                &"AB12CD34EF".parse().unwrap(),
                &Signer::DeveloperId,
            );
            let blob = compile(&requirement).unwrap();
            assert_eq!(blob.len() % 4, 0);
            assert_eq!(blob[4..8], u32::try_from(blob.len()).unwrap().to_be_bytes());
        }
    }

    #[test]
    fn one_clause_needs_no_operator_between_and_none_is_always_true() {
        let clauses = vec![Clause::AnchorAppleGeneric];
        let one = compile(&Requirement { clauses }).unwrap();
        assert_eq!(hexadecimal(&one), "fade0c0000000010000000010000000f");
        let none = compile(&Requirement { clauses: vec![] }).unwrap();
        assert_eq!(hexadecimal(&none), "fade0c00000000100000000100000001");
    }

    #[test]
    fn an_extension_that_is_no_object_identifier_is_named() {
        let clauses = vec![Clause::Extension {
            certificate: Certificate::Leaf,
            oid: "1.two".to_owned(),
        }];
        assert_eq!(
            compile(&Requirement { clauses }),
            Err(Error::Oid("1.two".to_owned()))
        );
    }
}
