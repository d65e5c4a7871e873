//! The package that was built, read by readers that are not ours.

use super::bare_root::BareRoot;
use super::mistakes::{self, Many};
use super::readers::{Listed, listed};
use super::sample::findings;
use mdm::identity::{Identity, Signer};
use mdm::jobs::JOBS;
use packaging::package::Product;
use packaging::version::Version;
use plist::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const APP: &str = "Applications/Conntrail.app";

/// One of the folders that `cargo xtask bundle` made.
struct Variant {
    folder: PathBuf,
    package: PathBuf,
    identity: Identity,
    version: Version,
}

fn variants() -> Vec<Variant> {
    let bundles = std::env::var_os("CONNTRAIL_BUNDLES").expect("the folder with both variants");
    let folders = ["developer-id", "development"].map(|it| Path::new(&bundles).join(it));
    folders.map(Variant::of).into()
}

fn value(plist: &Path, key: &str) -> String {
    let plist = Value::from_file(plist).unwrap();
    let value = plist.as_dictionary().unwrap().get(key).unwrap();
    value.as_string().unwrap().to_owned()
}

impl Variant {
    fn of(folder: PathBuf) -> Variant {
        let info = folder.join("Conntrail.app/Contents/Info.plist");
        let extensions = folder.join("Conntrail.app/Contents/Library/SystemExtensions");
        let extension = fs::read_dir(extensions)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let extension = extension.file_stem().unwrap().to_str().unwrap();
        let team = folder.join("entitlements/app.plist");
        let version = Version {
            short: value(&info, "CFBundleShortVersionString").parse().unwrap(),
            build: value(&info, "CFBundleVersion").parse().unwrap(),
        };
        let name = format!("Conntrail-{}-{}.pkg", version.short, version.build);
        Variant {
            package: folder.join(name),
            identity: Identity {
                app: value(&info, "CFBundleIdentifier").parse().unwrap(),
                extension: extension.parse().unwrap(),
                team: value(&team, "com.apple.developer.team-identifier")
                    .parse()
                    .unwrap(),
                // Nothing in a package depends on it.
                signer: Signer::DeveloperId,
            },
            version,
            folder,
        }
    }

    fn app(&self) -> PathBuf {
        self.folder.join("Conntrail.app")
    }

    fn product(&self) -> Product<'_> {
        Product {
            identity: &self.identity,
            version: self.version,
            jobs: JOBS,
        }
    }

    /// The members of the package, and those archives in it, unpacked by bsdtar.
    fn unpacked(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        bsdtar(&self.package, &folder.path().join("package"));
        for name in ["Payload", "Scripts"] {
            bsdtar(&member(&folder, name), &folder.path().join(name));
        }
        folder
    }
}

fn member(unpacked: &TempDir, name: &str) -> PathBuf {
    unpacked.path().join("package/Conntrail.pkg").join(name)
}

fn bsdtar(archive: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let paths = ["-xpf".as_ref(), archive, "-C".as_ref(), to];
    output(Command::new("bsdtar").args(paths));
}

/// What a program prints, which must succeed.
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

fn text(command: &mut Command) -> String {
    String::from_utf8(output(command)).unwrap()
}

/// Every file below a folder, by its path, with its bytes and whether it is a program.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for child in fs::read_dir(next).unwrap() {
            let path = child.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                let is_program = metadata.permissions().mode() & 0o111 != 0;
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, (fs::read(path).unwrap(), is_program));
            }
        }
    }
    files
}

#[test]
#[ignore = "needs bundle: reads the package that was built"]
fn other_readers_find_the_members_of_the_package() {
    for variant in variants() {
        let listed = text(Command::new("bsdtar").arg("-tf").arg(&variant.package));
        let listed: BTreeSet<_> = listed.lines().map(|it| it.trim_end_matches('/')).collect();
        let wanted = ["Bom", "PackageInfo", "Payload", "Scripts"];
        let mut wanted: BTreeSet<_> = wanted
            .iter()
            .map(|it| format!("Conntrail.pkg/{it}"))
            .collect();
        wanted.extend(["Conntrail.pkg".to_owned(), "Distribution".to_owned()]);
        assert_eq!(listed, wanted.iter().map(String::as_str).collect());

        let folder = TempDir::new().unwrap();
        let to = format!("-o{}", folder.path().display());
        output(
            Command::new("7z")
                .args(["x", "-y", "-bd", "-x![TOC].xml", &to])
                .arg(&variant.package),
        );
        let unpacked = variant.unpacked();
        assert_eq!(
            files(folder.path()),
            files(&unpacked.path().join("package"))
        );
    }
}

#[test]
#[ignore = "needs bundle: reads the package that was built"]
fn the_payload_that_other_readers_find_is_the_app_byte_by_byte() {
    for variant in variants() {
        let unpacked = variant.unpacked();
        let app = unpacked.path().join("Payload").join(APP);
        assert_eq!(files(&app), files(&variant.app()));

        let cpio = unpacked.path().join("payload.cpio");
        let packed = unpacked.path().join("payload.cpio.gz");
        fs::copy(member(&unpacked, "Payload"), &packed).unwrap();
        output(Command::new("gzip").arg("-d").arg(packed));
        let by_7z = unpacked.path().join("7z");
        let to = format!("-o{}", by_7z.display());
        output(
            Command::new("7z")
                .args(["x", "-y", "-bd", "-tcpio", &to])
                .arg(&cpio),
        );
        assert_eq!(files(&by_7z.join(APP)), files(&variant.app()));

        let names = text(
            Command::new("cpio")
                .args(["-it", "--quiet", "-F"])
                .arg(&cpio),
        );
        let listed: Vec<_> = names.lines().collect();
        let jobs = listed
            .iter()
            .filter(|it| it.contains("LaunchDaemons/"))
            .count();
        assert_eq!(jobs, JOBS.len());
        assert!(listed.contains(&"./Applications/Conntrail.app/Contents/MacOS/conntrail"));
    }
}

#[test]
#[ignore = "needs bundle: reads the package that was built"]
fn the_bill_lists_what_other_readers_find_in_the_payload() {
    for variant in variants() {
        let unpacked = variant.unpacked();
        let payload = member(&unpacked, "Payload");
        let lines = text(
            Command::new("bsdtar")
                .args(["--numeric-owner", "-tvf"])
                .arg(payload),
        );
        let root = unpacked.path().join("Payload");
        let found: BTreeMap<_, _> = lines.lines().map(|it| found(it, &root)).collect();
        let bill = fs::read(member(&unpacked, "Bom")).unwrap();
        assert_eq!(listed(&bill), found);
        assert!(found.len() > 10);
    }
}

/// What a line of bsdtar's listing says, and the checksum that `cksum` finds.
fn found(line: &str, root: &Path) -> (String, Listed) {
    let mut words = line.split_whitespace();
    let [mode, _, uid, gid, size] = [(); 5].map(|()| words.next().unwrap());
    let (_date, path) = line.split_at(line.find(" .").unwrap() + 1);
    let digit = |letters: &str| {
        let bits = letters.bytes().map(|it| u16::from(it != b'-'));
        bits.fold(0, |sum, bit| sum * 2 + bit)
    };
    let kind = match &mode[..1] {
        "d" => 0o040_000,
        "-" => 0o100_000,
        other => panic!("{other} in {line}"),
    };
    let checksum = match kind {
        0o100_000 => {
            let printed = text(Command::new("cksum").arg(root.join(path)));
            printed.split(' ').next().unwrap().parse().unwrap()
        }
        _ => 0,
    };
    let owner = [uid, gid].map(|it| it.parse().unwrap());
    let listed = (
        kind | digit(&mode[1..]),
        owner[0],
        owner[1],
        size.parse().unwrap(),
        checksum,
    );
    (path.trim_end_matches('/').to_owned(), listed)
}

#[test]
#[ignore = "needs bundle: reads the package that was built"]
fn every_job_starts_a_program_of_the_app() {
    for variant in variants() {
        let unpacked = variant.unpacked();
        let root = unpacked.path().join("Payload");
        let plists = files(&root.join("Library/LaunchDaemons"));
        let labels: BTreeSet<_> = JOBS
            .iter()
            .map(|it| it.label(&variant.identity.app))
            .collect();
        let mut found = BTreeSet::new();
        for name in plists.keys() {
            let plist = Value::from_file(root.join("Library/LaunchDaemons").join(name)).unwrap();
            let plist = plist.as_dictionary().unwrap();
            let program = plist["ProgramArguments"].as_array().unwrap()[0]
                .as_string()
                .unwrap();
            let program = root.join(program.trim_start_matches('/'));
            assert_ne!(
                fs::metadata(program).unwrap().permissions().mode() & 0o111,
                0
            );
            found.insert(plist["Label"].as_string().unwrap().to_owned());
        }
        assert_eq!(found, labels);
    }
}

#[test]
#[ignore = "needs bundle: runs the scripts of the package that was built"]
fn the_scripts_in_the_package_activate_only_what_is_managed() {
    for variant in variants() {
        let unpacked = variant.unpacked();
        let script = |path: &str| fs::read_to_string(unpacked.path().join(path)).unwrap();
        let identity = &variant.identity;
        let labels: Vec<_> = JOBS.iter().map(|it| it.label(&identity.app)).collect();
        let bootout = labels
            .iter()
            .map(|it| format!("launchctl bootout system/{it}"));
        let bootstrap = labels
            .iter()
            .map(|it| format!("launchctl bootstrap system /Library/LaunchDaemons/{it}.plist"));
        let root = BareRoot::new();
        root.command("launchctl", &[]);
        root.command("sw_vers", &[("", "13.6", 0)]);
        root.account();
        root.tool(&[("activate", "", 0)]);
        let ran = root.run(&script("Scripts/preinstall"), &["x.pkg", "/", "/"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        fs::remove_file(root.at("asked")).unwrap();
        let ran = root.run(&script("Scripts/postinstall"), &["x.pkg", "/", "/"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut wanted: Vec<_> = bootout.collect();
        wanted.push("conntrail activate --only-if-managed --no-wait --timeout 60s".to_owned());
        wanted.extend(bootstrap);
        assert_eq!(ran.asked_beside_account(), wanted);
    }
}

#[test]
#[ignore = "needs bundle: runs the script of the app that was built"]
fn the_script_in_the_app_removes_it() {
    for variant in variants() {
        let script = variant.app().join("Contents/Resources/uninstall.sh");
        let root = BareRoot::new();
        root.command("id", &[("-u", "0\n", 0)]);
        for command in ["launchctl", "pkgutil", "profiles"] {
            root.command(command, &[]);
        }
        root.tool(&[]);
        let ran = root.run(&fs::read_to_string(script).unwrap(), &[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!root.at(APP).exists());
        assert!(ran.asked.contains(&"conntrail deactivate".to_owned()));
        let receipt = format!("pkgutil --forget {}.pkg", variant.identity.app);
        assert_eq!(ran.asked.last(), Some(&receipt));
    }
}

#[test]
#[ignore = "needs bundle: reads the package that was built"]
fn the_package_is_what_it_should_be_and_mistakes_in_it_are_found() {
    for variant in variants() {
        let package = fs::read(&variant.package).unwrap();
        let (product, app) = (variant.product(), variant.app());
        assert_eq!(findings(&package, &product, &app), Vec::<String>::new());
        mistakes::each_is_found(Many::OneOfEachKind, &package, &product, &app);
        for at in [100, package.len() / 2, package.len() - 1] {
            let mut wrong = package.clone();
            wrong[at] ^= 1;
            assert!(!findings(&wrong, &product, &app).is_empty(), "{at}");
        }
    }
}
