//! What is installed: the app, and the property lists of its jobs.

use super::{APP_PATH, Error, PROGRAM, Product, Request, jobs};
use crate::archive::{Entry, Kind, by_path};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The group `admin`, which owns `/Applications`.
const ADMIN: u32 = 80;

/// The folders that are there already, with the owner and the permissions that they have.
pub(super) const SYSTEM_FOLDERS: &[(&str, u16, u32)] = &[
    (".", 0o755, 0),
    ("./Applications", 0o775, ADMIN),
    ("./Library", 0o755, 0),
    ("./Library/LaunchDaemons", 0o755, 0),
];

/// Everything that is installed, in the order in which it is.
pub(super) fn entries(request: &Request<'_>) -> Result<Vec<Entry>, Error> {
    let modified_s = request.modified_s;
    let folders = SYSTEM_FOLDERS.iter();
    let mut entries: Vec<_> = folders
        .map(|(path, mode, gid)| Entry {
            gid: *gid,
            ..owned_by_root(path, Kind::Folder, *mode, modified_s)
        })
        .collect();
    add(
        &mut entries,
        request.app,
        &format!(".{APP_PATH}"),
        modified_s,
    )?;
    let product = request.product;
    check_app(product, request.app)?;
    let programs = programs(&entries);
    if let Some(finding) = jobs::jobs_agree(product.jobs, PROGRAM, &programs)
        .into_iter()
        .next()
    {
        return Err(Error::Jobs(finding));
    }
    for job in product.jobs {
        let plist = jobs::launchd_plist(job, &product.identity.app);
        let path = format!(".{}", product.plist_path(job));
        entries.push(owned_by_root(&path, Kind::File(plist), 0o644, modified_s));
    }
    entries.sort_by(by_path);
    Ok(entries)
}

/// The names of what is in the app's `Contents/MacOS`.
pub(super) fn programs(entries: &[Entry]) -> Vec<String> {
    let folder = format!(".{APP_PATH}/Contents/MacOS/");
    let below = entries
        .iter()
        .filter_map(|it| it.path.strip_prefix(&folder));
    below.map(str::to_owned).collect()
}

fn owned_by_root(path: &str, kind: Kind, mode: u16, modified_s: u32) -> Entry {
    Entry {
        path: path.to_owned(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        modified_s,
    }
}

/// Permissions are made anew: they are those of whoever checked the project out.
fn add(entries: &mut Vec<Entry>, from: &Path, to: &str, modified_s: u32) -> Result<(), Error> {
    let unreadable = |source| Error::Read {
        path: from.to_owned(),
        source,
    };
    let metadata = fs::symlink_metadata(from).map_err(unreadable)?;
    let (kind, mode) = if metadata.is_dir() {
        (Kind::Folder, 0o755)
    } else if metadata.is_file() {
        let is_program = metadata.permissions().mode() & 0o111 != 0;
        let mode = if is_program { 0o755 } else { 0o644 };
        (Kind::File(fs::read(from).map_err(unreadable)?), mode)
    } else if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(unreadable)?;
        let target = target
            .to_str()
            .ok_or_else(|| Error::Unpackable(from.to_owned()))?;
        (Kind::Link(target.to_owned()), 0o755)
    } else {
        return Err(Error::Unpackable(from.to_owned()));
    };
    let is_folder = kind == Kind::Folder;
    entries.push(owned_by_root(to, kind, mode, modified_s));
    if is_folder {
        for child in fs::read_dir(from).map_err(unreadable)? {
            let path = child.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|it| it.to_str());
            let name = name.ok_or_else(|| Error::Unpackable(path.clone()))?;
            add(entries, &path, &format!("{to}/{name}"), modified_s)?;
        }
    }
    Ok(())
}

/// What the app and the extension say of themselves.
fn check_app(product: &Product<'_>, app: &Path) -> Result<(), Error> {
    let identity = product.identity;
    let extension = format!(
        "Contents/Library/SystemExtensions/{}.systemextension/Contents/Info.plist",
        identity.extension
    );
    let bundles = [
        ("Contents/Info.plist", &identity.app),
        (&extension[..], &identity.extension),
    ];
    for (path, id) in bundles {
        let path = app.join(path);
        let bytes = fs::read(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let plist = plist::Value::from_reader(std::io::Cursor::new(bytes)).ok();
        for (key, wanted) in said(product, id.as_str()) {
            let found = plist
                .as_ref()
                .and_then(|it| it.as_dictionary()?.get(key)?.as_string());
            if found != Some(&wanted) {
                return Err(Error::AnotherApp {
                    path,
                    key,
                    found: found.map(str::to_owned),
                    wanted,
                });
            }
        }
    }
    Ok(())
}

/// What a bundle must say of itself.
pub(super) fn said(product: &Product<'_>, id: &str) -> [(&'static str, String); 3] {
    let version = product.version;
    [
        ("CFBundleIdentifier", id.to_owned()),
        ("CFBundleShortVersionString", version.short.to_string()),
        ("CFBundleVersion", version.build.to_string()),
    ]
}
