//! Mistakes that somebody could make in a package, each of which must be found.

use super::sample::findings;
use flate2::Compression;
use flate2::write::GzEncoder;
use packaging::archive::bom::{self, Record};
use packaging::archive::{self, Entry, Kind, cpio, xar};
use packaging::package::Product;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const APP: &str = "./Applications/Conntrail.app";

/// A package, taken apart.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) payload: Vec<Entry>,
    pub(crate) scripts: Vec<Entry>,
    pub(crate) bill: Vec<Record>,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Parts {
    pub(crate) fn of(package: &[u8]) -> Parts {
        let mut files = xar::read(package).unwrap().files;
        let mut take = |name: &str| files.remove(&format!("Conntrail.pkg/{name}")).unwrap();
        let unpacked = |bytes: Vec<u8>| cpio::read(&archive::gunzip(&bytes).unwrap()).unwrap();
        Parts {
            payload: unpacked(take("Payload")),
            scripts: unpacked(take("Scripts")),
            bill: bom::read(&take("Bom")).unwrap(),
            documents: files,
        }
    }

    fn package(&self) -> Vec<u8> {
        let mut files = self.documents.clone();
        let packed = |entries: &[Entry]| quickly_packed(&cpio::write(entries).unwrap());
        files.insert("Conntrail.pkg/Payload".to_owned(), packed(&self.payload));
        files.insert("Conntrail.pkg/Scripts".to_owned(), packed(&self.scripts));
        files.insert(
            "Conntrail.pkg/Bom".to_owned(),
            bom::write(&self.bill).unwrap(),
        );
        xar::write(&files, 0)
    }

    fn entry(&mut self, path: &str) -> &mut Entry {
        let mut entries = self.payload.iter_mut();
        entries.find(|it| it.path == path).unwrap()
    }

    fn listed(&mut self, path: &str) -> &mut Record {
        self.bill.iter_mut().find(|it| it.path == path).unwrap()
    }

    /// The bill as it is for the payload as it is now.
    fn list(&mut self) {
        self.bill = self
            .payload
            .iter()
            .map(|it| Record::of(it).unwrap())
            .collect();
    }

    fn add(&mut self, path: &str, kind: Kind) {
        let entry = Entry {
            path: path.to_owned(),
            kind,
            ..self.entry(APP).clone()
        };
        self.payload.push(entry);
        self.payload.sort_by(archive::by_path);
        self.list();
    }

    fn job(&mut self) -> &mut Entry {
        let mut entries = self.payload.iter_mut();
        entries
            .find(|it| it.path.ends_with(".plist") && it.path.contains("Daemons"))
            .unwrap()
    }

    fn document(&mut self, name: &str, from: &str, to: &str) {
        let bytes = self.documents.get_mut(name).unwrap();
        *bytes = replaced(bytes, from, to);
    }

    fn info(&mut self, from: &str, to: &str) {
        self.document("Conntrail.pkg/PackageInfo", from, to);
    }

    fn distribution(&mut self, from: &str, to: &str) {
        self.document("Distribution", from, to);
    }

    fn script(&mut self, name: &str) -> &mut Entry {
        self.scripts
            .iter_mut()
            .find(|it| it.path.ends_with(name))
            .unwrap()
    }
}

/// Not compressed at all: a real app is large, and there are many mistakes.
fn quickly_packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

fn replace_in(entry: &mut Entry, from: &str, to: &str) {
    entry.kind = Kind::File(replaced(entry.content(), from, to));
}

/// A mistake, the words of a finding, and how it is made.
type Mistake = (&'static str, &'static str, fn(&mut Parts));

/// How many mistakes are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Many {
    All,
    /// One of each kind, for a package that is large.
    OneOfEachKind,
}

/// Makes one mistake after the other in a package that has none.
pub(crate) fn each_is_found(many: Many, package: &[u8], product: &Product<'_>, app: &Path) {
    let untouched = Parts::of(package);
    assert_eq!(
        findings(&untouched.package(), product, app),
        Vec::<String>::new()
    );
    for kind in [PAYLOAD, BILL, JOBS, SCRIPTS, DOCUMENTS] {
        let count = match many {
            Many::All => kind.len(),
            Many::OneOfEachKind => 1,
        };
        for (name, words, make) in &kind[..count] {
            let mut parts = untouched.clone();
            make(&mut parts);
            let found = findings(&parts.package(), product, app);
            assert!(
                found.iter().any(|it| it.contains(words)),
                "{name}: {words:?} in {found:#?}"
            );
        }
    }
}

const PROGRAM: &str = "./Applications/Conntrail.app/Contents/MacOS/conntrail";

const PAYLOAD: &[Mistake] = &[
    (
        "a flipped byte",
        "its content is not what was packed",
        |it| {
            let entry = it.entry(PROGRAM);
            let mut bytes = entry.content().to_vec();
            bytes[0] ^= 1;
            entry.kind = Kind::File(bytes);
            it.list();
        },
    ),
    ("a file that is lost", "it is not in the payload", |it| {
        it.payload.retain(|entry| entry.path != PROGRAM);
        it.list();
    }),
    ("a file too many", "it is in the payload only", |it| {
        it.add("./Applications/Conntrail.app/Contents/more", Kind::Folder);
    }),
    ("a file elsewhere", "nothing to do there", |it| {
        it.add("./Library/more", Kind::Folder)
    }),
    ("a file twice", "a path is there twice", |it| {
        let copy = it.entry(PROGRAM).clone();
        it.payload.push(copy);
    }),
    ("for everybody to write", "mode 777 of 0:0", |it| {
        it.entry(PROGRAM).mode = 0o777;
        it.list();
    }),
    ("not to be executed", "its mode is 644", |it| {
        it.entry(PROGRAM).mode = 0o644;
        it.list();
    }),
    ("as its owner", "mode 4755 of 0:0", |it| {
        it.entry(PROGRAM).mode = 0o4755;
        it.list();
    }),
    ("of whoever builds", "mode 755 of 501:0", |it| {
        it.entry(PROGRAM).uid = 501;
        it.list();
    }),
    (
        "the group of a folder of the system",
        "must be 775 of 0:80",
        |it| {
            it.entry("./Applications").gid = 0;
            it.list();
        },
    ),
    (
        "the script that removes it",
        "uninstall.sh: it is not the script",
        |it| {
            let path = format!("{APP}/Contents/Resources/uninstall.sh");
            replace_in(it.entry(&path), "with-records", "with-record");
            it.list();
        },
    ),
    (
        "no script that removes it",
        "uninstall.sh: it is missing",
        |it| {
            it.payload
                .retain(|entry| !entry.path.ends_with("/uninstall.sh"));
            it.list();
        },
    ),
];

const BILL: &[Mistake] = &[
    (
        "a path that is not listed",
        "the bill of materials does not list it",
        |it| {
            it.bill.retain(|record| record.path != PROGRAM);
        },
    ),
    (
        "a path that is only listed",
        "and the payload has it not",
        |it| {
            it.payload.retain(|entry| entry.path != PROGRAM);
        },
    ),
    ("a mode that is listed otherwise", "the bill says", |it| {
        it.listed(PROGRAM).mode = 0o100_744
    }),
    ("an owner that is listed otherwise", "the bill says", |it| {
        it.listed(PROGRAM).gid = 20
    }),
    ("a size that is listed otherwise", "the bill says", |it| {
        it.listed(PROGRAM).size_bytes += 1;
    }),
    (
        "a checksum that is listed otherwise",
        "the bill says",
        |it| {
            it.listed(PROGRAM).checksum ^= 1;
        },
    ),
    ("a time that is listed otherwise", "the bill says", |it| {
        it.listed(PROGRAM).modified_s += 1;
    }),
];

const JOBS: &[Mistake] = &[
    (
        "a job of another program",
        "which is not in the app",
        |it| {
            replace_in(it.job(), "MacOS/conntrail-ship<", "MacOS/conntrail-shop<");
            it.list();
        },
    ),
    (
        "a job of another label",
        "its file is named otherwise",
        |it| {
            replace_in(it.job(), "</string>", ".other</string>");
            it.list();
        },
    ),
    (
        "a job that would run as root",
        "it names an account or a group, and not both",
        |it| {
            replace_in(it.job(), "UserName", "User");
            it.list();
        },
    ),
    (
        "a job that is not started",
        "its content is not what was packed",
        |it| {
            replace_in(it.job(), "RunAtLoad", "RunAtLoaded");
            it.list();
        },
    ),
    (
        "a job without its property list",
        "has no property list",
        |it| {
            let path = it.job().path.clone();
            it.payload.retain(|entry| entry.path != path);
            it.list();
        },
    ),
    (
        "a program without a job",
        "no job starts this program",
        |it| {
            let program = Kind::File(b"x".to_vec());
            it.add(
                "./Applications/Conntrail.app/Contents/MacOS/shipper",
                program,
            );
        },
    ),
    ("a job for everybody to write", "mode 666 of 0:0", |it| {
        it.job().mode = 0o666;
        it.list();
    }),
];

const SCRIPTS: &[Mistake] = &[
    (
        "a placeholder that is left",
        "@LABELS@ is not filled in",
        |it| {
            replace_in(it.script("postinstall"), "labels='", "labels='@LABELS@ ");
        },
    ),
    (
        "a script that is another",
        "it is not the script of this product",
        |it| {
            replace_in(it.script("preinstall"), "exit 1", "exit 0");
        },
    ),
    (
        "a script that is lost",
        "./preinstall: it is missing",
        |it| {
            it.scripts.retain(|entry| entry.path != "./preinstall");
        },
    ),
    ("a script too many", "Installer has no use for it", |it| {
        let mut copy = it.script("preinstall").clone();
        copy.path = "./preflight".to_owned();
        it.scripts.push(copy);
    }),
    ("a script that cannot run", "its mode is 644", |it| {
        it.script("postinstall").mode = 0o644
    }),
    ("a script of somebody", "or its owner another", |it| {
        it.script("postinstall").uid = 501
    }),
];

const DOCUMENTS: &[Mistake] = &[
    ("it can be relocated", "relocatable is \"true\"", |it| {
        it.info("relocatable=\"false\"", "relocatable=\"true\"");
    }),
    ("it follows the app", "the app would follow", |it| {
        it.info("<relocate/>", "<relocate><bundle id=\"x\"/></relocate>");
    }),
    (
        "no way back",
        "an equal or lower version would not be installed",
        |it| {
            it.info(
                "<bundle-version/>",
                "<bundle-version><bundle id=\"x\"/></bundle-version>",
            );
        },
    ),
    (
        "no way back in the other document",
        "versions would be compared",
        |it| {
            let bundle = "<bundle-version><bundle id=\"x\"/></bundle-version>";
            it.distribution("<bundle-version/>", bundle);
        },
    ),
    ("a user's package", "auth is \"none\"", |it| {
        it.info("auth=\"root\"", "auth=\"none\"")
    }),
    ("another place", "install-location is \"/opt\"", |it| {
        it.info("install-location=\"/\"", "install-location=\"/opt\"");
    }),
    ("a restart", "postinstall-action is \"restart\"", |it| {
        it.info(
            "postinstall-action=\"none\"",
            "postinstall-action=\"restart\"",
        );
    }),
    ("another number of files", "payload numberOfFiles", |it| {
        it.info("numberOfFiles=\"", "numberOfFiles=\"1");
    }),
    ("another size", "payload installKBytes", |it| {
        it.info("installKBytes=\"", "installKBytes=\"1");
    }),
    (
        "a script that is not told",
        "scripts/postinstall file is missing",
        |it| {
            it.info("<postinstall file=\"./postinstall\"/>", "");
        },
    ),
    ("another version of the app", "CFBundleVersion is", |it| {
        it.info("CFBundleVersion=\"", "CFBundleVersion=\"9");
    }),
    ("a bundle that is not told", "is missing", |it| {
        it.info(".systemextension\" id=\"", ".systemextension\" id=\"x");
    }),
    ("another identifier", "identifier is", |it| {
        it.info(".pkg\"", ".package\"")
    }),
    ("another version", " version is \"0", |it| {
        it.info("\" version=\"", "\" version=\"0");
    }),
    (
        "nothing to be upgraded",
        "upgrade-bundle/bundle id is missing",
        |it| {
            it.info("<upgrade-bundle>", "<upgrade-bundle/><upgrade-bundle>");
        },
    ),
    ("one architecture", "options hostArchitectures", |it| {
        it.distribution("arm64,x86_64", "x86_64");
    }),
    ("an older system", "os-version min is \"12.0\"", |it| {
        it.distribution("13.0", "12.0")
    }),
    (
        "a user's home",
        "enable_currentUserHome is \"true\"",
        |it| {
            it.distribution(
                "enable_currentUserHome=\"false\"",
                "enable_currentUserHome=\"true\"",
            );
        },
    ),
    ("another component", "does not name #Conntrail.pkg", |it| {
        it.distribution("#Conntrail.pkg", "#Contrail.pkg");
    }),
    ("no product", "product version is missing", |it| {
        it.distribution("<product ", "<produce ")
    }),
    ("no document", "XML: ", |it| it.distribution("</title>", "")),
    (
        "a member too many",
        "it has no place in the package",
        |it| {
            it.documents.insert("Resources/x".to_owned(), Vec::new());
        },
    ),
    (
        "a member that is lost",
        "PackageInfo: it is missing",
        |it| {
            it.documents.remove("Conntrail.pkg/PackageInfo");
        },
    ),
];
