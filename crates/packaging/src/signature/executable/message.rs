//! Whether the signed message belongs to the code directories, and the signer to the program.

use super::super::certificate::Certificate;
use super::super::cms::Cms;
use super::super::requirement::{Comparison, Expression, Position, Test};
use super::{Blob, CodeDirectory, Findings, Hash, Mistake, SliceSignature, superblob};

pub(super) fn check(signature: &SliceSignature, blobs: &[Blob<'_>], findings: &mut Findings) {
    let message = blobs.iter().find(|blob| blob.slot == superblob::SIGNATURE);
    let is_signed = message.is_some_and(|blob| !blob.content().is_empty());
    let primary = signature.primary();
    findings.expect(primary.is_adhoc() != is_signed, || Mistake::Adhoc {
        flag: primary.is_adhoc(),
    });
    check_requirement(signature, findings);
    let Some(cms) = &signature.cms else {
        return;
    };
    let directory = blobs.iter().find(|blob| blob.slot == superblob::DIRECTORY);
    let directory = directory.expect("a signature without code directory is refused");
    let digest = cms.hash.digest(directory.whole);
    findings.expect(cms.message_digest == digest, || Mistake::MessageDigest);
    check_lists(cms, &signature.directories, findings);
    check_signer(cms, findings);
    if let (Some(team), Some(unit)) = (&primary.team, &cms.leaf().unit) {
        findings.expect(team == unit, || Mistake::Team {
            team: team.clone(),
            unit: unit.clone(),
        });
    }
}

fn check_lists(cms: &Cms, directories: &[CodeDirectory], findings: &mut Findings) {
    let cdhashes = directories
        .iter()
        .map(|one| one.cdhash().to_vec())
        .collect();
    findings.expect(cms.cdhashes == Some(cdhashes), || Mistake::DirectoryList {
        list: "cdhashes",
    });
    let fits = cms.digests.as_ref().is_some_and(|digests| {
        digests.len() == directories.len()
            && directories.iter().all(|directory| {
                digests.iter().any(|(algorithm, digest)| {
                    Hash::of_algorithm(algorithm) == Some(directory.hash)
                        && *digest == directory.digest
                })
            })
    });
    findings.expect(fits, || Mistake::DirectoryList { list: "digests" });
}

/// Also used for packages, whose message is of the same kind.
pub(crate) fn check_signer(cms: &Cms, findings: &mut Findings) {
    let certificate = cms.leaf().name().to_owned();
    match cms.is_valid {
        Some(true) => {}
        Some(false) => findings.add(Mistake::Signature { certificate }),
        None => findings.add(Mistake::Algorithm { certificate }),
    }
    check_chain(&cms.chain, findings);
    let Some(time) = &cms.signing_time else {
        return;
    };
    for certificate in &cms.chain {
        let is_valid = certificate.valid_from <= *time && *time <= certificate.valid_until;
        findings.expect(is_valid, || Mistake::Expired {
            certificate: certificate.name().to_owned(),
            time: time.clone(),
        });
    }
}

/// Every certificate is signed by the next, and the last by itself.
pub(crate) fn check_chain(chain: &[Certificate], findings: &mut Findings) {
    let Some(last) = chain.last() else {
        return;
    };
    findings.expect(last.is_self_issued(), || Mistake::NoRoot {
        certificate: last.name().to_owned(),
    });
    let issuers = chain.iter().skip(1).chain([last]);
    for (certificate, issuer) in chain.iter().zip(issuers) {
        if issuer.subject != certificate.issuer {
            continue;
        }
        let certificate_name = certificate.name().to_owned();
        match certificate.is_signed_by(issuer) {
            Some(true) => {}
            Some(false) => findings.add(Mistake::Chain {
                certificate: certificate_name,
            }),
            None => findings.add(Mistake::Algorithm {
                certificate: certificate_name,
            }),
        }
    }
}

fn check_requirement(signature: &SliceSignature, findings: &mut Findings) {
    let Some(designated) = signature.designated() else {
        return findings.add(Mistake::NoRequirement);
    };
    for clause in designated.conjunction() {
        findings.expect(is_met(clause, signature) != Some(false), || {
            Mistake::RequirementNotMet {
                clause: clause.to_string(),
            }
        });
    }
}

/// Nothing when it cannot be said here: whether a certificate goes back to Apple, and what is in
/// certificates that are not there.
fn is_met(clause: &Expression, signature: &SliceSignature) -> Option<bool> {
    match clause {
        Expression::Identifier(identifier) => Some(signature.primary().identifier == *identifier),
        Expression::Certificate {
            certificate: Position(position),
            field,
            test,
        } => {
            let chain = &signature.cms.as_ref()?.chain;
            let certificate = chain.get(usize::try_from(*position).ok()?)?;
            is_met_by(certificate, field, test)
        }
        Expression::CodeDirectoryHash(hash) => Some(signature.cdhashes().contains(&&hash[..])),
        Expression::Never => Some(false),
        Expression::Always => Some(true),
        Expression::AppleAnchor
        | Expression::AppleGenericAnchor
        | Expression::NamedAnchor(_)
        | Expression::NamedCode(_)
        | Expression::CertificateHash { .. }
        | Expression::Trusted(_)
        | Expression::SomeTrusted
        | Expression::Info { .. }
        | Expression::Entitlement { .. }
        | Expression::Platform(_)
        | Expression::Notarized
        | Expression::LegacyDeveloperId
        | Expression::And(..)
        | Expression::Or(..)
        | Expression::Not(_)
        | Expression::Unknown(_) => None,
    }
}

fn is_met_by(certificate: &Certificate, field: &str, test: &Test) -> Option<bool> {
    let value = match field.split_once('.')? {
        ("field", oid) => {
            let has = certificate.extensions.iter().any(|other| other == oid);
            return match test {
                Test::Exists => Some(has),
                Test::Absent => Some(!has),
                Test::Compares(..) | Test::Time(..) => None,
            };
        }
        ("subject", "OU") => &certificate.unit,
        ("subject", "CN") => &certificate.common_name,
        ("subject", "O") => &certificate.organization,
        _ => return None,
    };
    match test {
        Test::Exists => Some(value.is_some()),
        Test::Absent => Some(value.is_none()),
        Test::Compares(Comparison::Equal, expected) => {
            Some(value.as_ref().is_some_and(|it| it.as_bytes() == expected))
        }
        Test::Compares(..) | Test::Time(..) => None,
    }
}
