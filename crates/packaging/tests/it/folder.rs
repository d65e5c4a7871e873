//! The folder of a bundle, as a whole: nothing is wrong with what was made, and whatever is made
//! wrong in it is found.

use std::fs;
use std::path::{Path, PathBuf};

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

/// Every file under a folder, by its path in it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Replaces the first text by another of the same length, everywhere in a file.
fn edit(path: &Path, from: &str, to: &str) {
    let bytes = fs::read(path).unwrap();
    let mut edited = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some(at) = rest
        .windows(from.len())
        .position(|it| it == from.as_bytes())
    {
        edited.extend_from_slice(&rest[..at]);
        edited.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    assert!(!edited.is_empty(), "{} has no {from}", path.display());
    edited.extend_from_slice(rest);
    fs::write(path, edited).unwrap();
}

mod bundle {
    use super::{copy, edit, files};
    use mdm::identity::{APP, EXTENSION, Identity};
    use mdm::jobs::JOBS;
    use object::macho::CPU_TYPE_ARM64;
    use object::read::macho::{FatArch, MachOFatFile32};
    use packaging::credentials::{Signing, Variant};
    use packaging::inspect::{Expected, inspect};
    use packaging::signature;
    use packaging::version::Version;
    use std::env;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const NESTED: &str = "Conntrail.app/Contents/Library/SystemExtensions/\
                          com.conntrail.agent.filter.systemextension";

    const SHIPPER: &str = "Conntrail.app/Contents/MacOS/conntrail-ship";

    fn bundles() -> PathBuf {
        let folder = env::var_os("CONNTRAIL_BUNDLES");
        folder.expect("cargo xtask test sets it").into()
    }

    /// What is found in a folder that should be a bundle of the variant.
    fn found(folder: &Path, variant: Variant) -> Vec<String> {
        let made = bundles().join(variant.name());
        let report = fs::read_to_string(made.join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let certificate = Signing::read(&[made.join("throwaway/application.pem")]).unwrap();
        let identity = Identity {
            app: APP.parse().unwrap(),
            extension: EXTENSION.parse().unwrap(),
            team: "THROWAWAY0".parse().unwrap(),
            signer: variant.signer(&certificate.certificate),
        };
        let version = Version {
            short: report["version"].as_str().unwrap().parse().unwrap(),
            build: report["build"].as_u64().unwrap().try_into().unwrap(),
        };
        let expected = Expected {
            identity: &identity,
            version,
            variant,
            jobs: JOBS,
        };
        let findings = inspect(folder, &expected);
        findings.iter().map(ToString::to_string).collect()
    }

    fn copied(variant: Variant) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&bundles().join(variant.name()), folder.path());
        folder
    }

    /// A mistake: where and how it is made, and what is found then.
    type Mistake = (&'static str, fn(&Path), &'static str);

    fn each_is_found(mistakes: &[Mistake]) {
        for (name, make, words) in mistakes {
            let folder = copied(Variant::DeveloperId);
            make(folder.path());
            let found = found(folder.path(), Variant::DeveloperId);
            assert!(
                found.iter().any(|it| it.contains(words)),
                "{name}: {words} is not in {found:#?}"
            );
        }
    }

    #[test]
    #[ignore = "needs bundle: reads the signed app and everything beside it"]
    fn nothing_is_wrong_with_what_was_made() {
        for variant in Variant::ALL {
            let folder = bundles().join(variant.name());
            assert_eq!(found(&folder, variant), [""; 0], "{variant}");
        }
    }

    #[test]
    #[ignore = "needs bundle: compares the unsigned apps of two builds"]
    fn two_builds_in_two_places_are_the_same_to_the_byte() {
        let first = bundles().join(Variant::DeveloperId.name());
        let second = bundles().join("second");
        let apps = ["unsigned/Conntrail.app"; 1];
        for (one, other) in apps.map(|it| (first.join(it), second.join(it))) {
            assert_eq!(files(&one), files(&other));
            for file in files(&one) {
                let [a, b] = [&one, &other].map(|it| fs::read(it.join(&file)).unwrap());
                assert!(a == b, "{} differs", file.display());
            }
        }
        for file in ["NOTICES.txt", "sbom.cdx.json"] {
            let [a, b] = [&first, &second].map(|it| fs::read(it.join(file)).unwrap());
            assert!(a == b, "{file} differs");
        }
    }

    #[test]
    #[ignore = "needs bundle: reads the app as it was before it was signed"]
    fn the_linkers_own_signature_fits_the_unsigned_programs() {
        let app = bundles().join("developer-id/unsigned/Conntrail.app");
        let program = fs::read(app.join("Contents/MacOS/conntrail")).unwrap();
        let head = MachOFatFile32::parse(program.as_slice()).unwrap();
        // Only Apple's own processors ask the linker for a signature.
        let slice = head
            .arches()
            .iter()
            .find(|it| it.cputype() == CPU_TYPE_ARM64);
        let slice = slice.unwrap().data(program.as_slice()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("A.app");
        copy(&app, &bundle);
        fs::write(bundle.join("Contents/MacOS/conntrail"), slice).unwrap();
        fs::remove_dir_all(bundle.join("Contents/Library")).unwrap();
        let (_, findings) = packaging::signature::verify_bundle(&bundle).unwrap();
        let of_pages =
            |it: &&signature::Finding| matches!(it.mistake, signature::Mistake::Page { .. });
        assert_eq!(findings.iter().filter(of_pages).count(), 0, "{findings:#?}");
    }

    #[test]
    #[ignore = "needs bundle: reads the signed app of the other variant"]
    fn a_variant_does_not_pass_for_the_other() {
        let folder = bundles().join(Variant::Development.name());
        let found = found(&folder, Variant::DeveloperId);
        assert!(
            found
                .iter()
                .any(|it| it.contains("content-filter-provider")),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|it| it.contains("designated requirement")),
            "{found:#?}"
        );
    }

    #[test]
    #[ignore = "needs bundle: makes mistakes in copies of the signed app"]
    fn mistakes_in_the_structure_are_found() {
        each_is_found(&[
            (
                "a property list for launchd in the app",
                |folder| {
                    let jobs = folder.join("Conntrail.app/Contents/Library/LaunchDaemons");
                    fs::create_dir_all(&jobs).unwrap();
                    fs::write(jobs.join("x.plist"), "").unwrap();
                },
                "LaunchDaemons/x.plist: has no use in the app",
            ),
            (
                "a program that cannot run",
                |folder| {
                    let program = folder.join(NESTED).join("Contents/MacOS/conntraild");
                    fs::set_permissions(program, Permissions::from_mode(0o644)).unwrap();
                },
                "conntraild: has the mode 644",
            ),
            (
                "a program for one kind of processor",
                |folder| {
                    let program = folder.join("Conntrail.app/Contents/MacOS/conntrail");
                    let universal = fs::read(&program).unwrap();
                    let head = MachOFatFile32::parse(universal.as_slice()).unwrap();
                    let slice = head.arches()[0].data(universal.as_slice()).unwrap();
                    fs::write(&program, slice).unwrap();
                },
                "Conntrail.app: has no program for x86_64",
            ),
            (
                "a shipper for one kind of processor",
                |folder| {
                    let program = folder.join(SHIPPER);
                    let universal = fs::read(&program).unwrap();
                    let head = MachOFatFile32::parse(universal.as_slice()).unwrap();
                    let slice = head.arches()[0].data(universal.as_slice()).unwrap();
                    fs::write(&program, slice).unwrap();
                },
                "conntrail-ship: has no program for x86_64",
            ),
            (
                "no shipper",
                |folder| fs::remove_file(folder.join(SHIPPER)).unwrap(),
                "MacOS/conntrail-ship: is missing",
            ),
            (
                "no profile",
                |folder| {
                    let profile = "Conntrail.app/Contents/embedded.provisionprofile";
                    fs::remove_file(folder.join(profile)).unwrap();
                },
                "embedded.provisionprofile: is missing",
            ),
            (
                "no extension",
                |folder| fs::remove_dir_all(folder.join(NESTED)).unwrap(),
                "has no signed extension",
            ),
        ]);
    }

    #[test]
    #[ignore = "needs bundle: makes mistakes in copies of the signed app"]
    fn mistakes_in_names_and_versions_are_found() {
        each_is_found(&[
            (
                "another class",
                |folder| {
                    let plist = folder.join(NESTED).join("Contents/Info.plist");
                    edit(&plist, "ConntrailFilterProvider", "ConntrailFilterProvidor");
                },
                "com.apple.networkextension.filter-data is \"ConntrailFilterProvidor\"",
            ),
            (
                "a program without the class",
                |folder| {
                    let program = folder.join(NESTED).join("Contents/MacOS/conntraild");
                    edit(
                        &program,
                        "ConntrailFilterProvider",
                        "ConntrailFilterProvidor",
                    );
                },
                "has no class ConntrailFilterProvider",
            ),
            (
                "another identifier",
                |folder| {
                    let plist = folder.join("Conntrail.app/Contents/Info.plist");
                    edit(&plist, "com.conntrail.agent", "com.conntrail.agenda");
                },
                "CFBundleIdentifier is \"com.conntrail.agenda\"",
            ),
            (
                "another version of the extension",
                |folder| {
                    let plist = folder.join(NESTED).join("Contents/Info.plist");
                    edit(&plist, "<string>0.", "<string>9.");
                },
                "CFBundleShortVersionString is \"9.",
            ),
            (
                "a report of another build",
                |folder| edit(&folder.join("report.json"), "\"build\": ", "\"build\": 9"),
                "report.json: names another build",
            ),
        ]);
    }

    #[test]
    #[ignore = "needs bundle: makes mistakes in copies of the signed app"]
    fn mistakes_in_entitlements_and_requirements_are_found() {
        each_is_found(&[
            (
                "the profile of the other bundle",
                |folder| {
                    let profile = "Contents/embedded.provisionprofile";
                    let app = folder.join("Conntrail.app").join(profile);
                    fs::copy(folder.join(NESTED).join(profile), app).unwrap();
                },
                "com.apple.application-identifier",
            ),
            (
                "the value for development",
                |folder| {
                    let program = folder.join("Conntrail.app/Contents/MacOS/conntrail");
                    edit(
                        &program,
                        "<string>content-filter-provider-systemextension<",
                        "<string>content-filter-provider-systemextensiom<",
                    );
                },
                "content-filter-provider-systemextensiom",
            ),
            (
                "entitlements beside that are not those in the signature",
                |folder| {
                    let plist = folder.join("entitlements/app.plist");
                    edit(&plist, "THROWAWAY0", "THROWAWAY1");
                },
                "entitlements/app.plist: is not what the signature claims",
            ),
            (
                "a requirement beside that is not the one in the signature",
                |folder| {
                    let text = folder.join("requirements/extension.txt");
                    edit(&text, "THROWAWAY0", "THROWAWAY1");
                },
                "requirements/extension.txt: is not the requirement in the signature",
            ),
        ]);
    }

    #[test]
    #[ignore = "needs bundle: makes mistakes in copies of the signed app"]
    fn mistakes_in_the_signature_of_the_shipper_are_found() {
        each_is_found(&[
            (
                "another identifier",
                |folder| {
                    let program = folder.join(SHIPPER);
                    edit(
                        &program,
                        "com.conntrail.agent.ship\0",
                        "com.conntrail.agent.shop\0",
                    );
                },
                "com.conntrail.agent.shop",
            ),
            (
                "the program of another, rightly signed",
                |folder| {
                    let other = folder.join("Conntrail.app/Contents/MacOS/conntrail");
                    fs::copy(other, folder.join(SHIPPER)).unwrap();
                },
                "two programs have one signature",
            ),
            (
                "an entitlement that nobody meant it to have",
                |folder| {
                    let other = folder.join("Conntrail.app/Contents/MacOS/conntrail");
                    fs::copy(other, folder.join(SHIPPER)).unwrap();
                },
                "value of an entitlement",
            ),
            (
                "not signed by anybody",
                |folder| {
                    let unsigned = folder.join("unsigned").join(SHIPPER);
                    fs::copy(unsigned, folder.join(SHIPPER)).unwrap();
                },
                "conntrail-ship",
            ),
        ]);
    }

    #[test]
    #[ignore = "needs bundle: makes mistakes in copies of the profiles"]
    fn mistakes_in_the_profiles_are_found() {
        each_is_found(&[
            (
                "the requirement of another team",
                |folder| {
                    let profile = folder.join("profiles/conntrail-content-filter.mobileconfig");
                    edit(&profile, "THROWAWAY0", "THROWAWAY1");
                },
                "requires another extension than the one that is signed",
            ),
            (
                "a policy for the app in place of the extension",
                |folder| {
                    let profile = folder.join("profiles/conntrail-system-extension.mobileconfig");
                    edit(
                        &profile,
                        "<string>com.conntrail.agent.filter</string>",
                        "<string>com.conntrail.agent</string>",
                    );
                },
                "conntrail-system-extension.mobileconfig",
            ),
            (
                "no filter",
                |folder| {
                    let profiles = folder.join("profiles");
                    fs::remove_file(profiles.join("conntrail-content-filter.mobileconfig"))
                        .unwrap();
                },
                "a set of profiles has no content filter",
            ),
            (
                "a filter that gets no connections",
                |folder| {
                    let profile = folder.join("profiles/conntrail.mobileconfig");
                    edit(&profile, "FilterSockets", "FilterSocketz");
                },
                "conntrail.mobileconfig",
            ),
        ]);
    }
}
