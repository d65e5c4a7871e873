#!/bin/sh
# Removes the app, its system extension and its jobs. The recorded trail stays unless it is told
# otherwise.

PATH=/usr/bin:/bin:/usr/sbin:/sbin
root=''

name='@NAME@'
app='@APP@'
program='@PROGRAM@'
extension='@EXTENSION@'
package='@PACKAGE@'
labels='@LABELS@'
extension_pattern='@EXTENSION_PATTERN@'
team_pattern='@TEAM@'
records='@RECORDS@'
logs='/Library/Logs/Conntrail'
account='@ACCOUNT@'

set -u

usage() {
    cat <<END
usage: sudo sh uninstall.sh [--with-records] [--force]

Removes $name: the system extension, the jobs, the app and the receipt.
  --with-records  removes what was recorded, the logs and the account $account too
  --force         removes the app even where the extension cannot be removed before
END
}

say() {
    printf '%s: %s\n' "$name" "$*"
    logger -t conntrail -- "$*" || :
}

start_jobs() {
    for label in $labels; do
        plist="$root/Library/LaunchDaemons/$label.plist"
        [ ! -f "$plist" ] || launchctl bootstrap system "$plist" || :
    done
}

# Nothing has been removed; what was stopped runs again.
stop_here() {
    start_jobs
    say "Nothing is removed. With --force the app is removed all the same; the system then" \
        "removes the extension with it, or keeps it until the profiles are gone."
    exit 1
}

# Whether a profile lists the extension under a key of the system extension policy.
is_listed() {
    string='<string>[^<]*</string>'
    list="(<array>($string)*</array>|<array/>)"
    before="<key>$1</key><dict>(<key>[^<]*</key>$list)*"
    ours="<key>$team_pattern</key><array>($string)*<string>$extension_pattern</string>"
    printf '%s\n' "$found" | grep -Eq "$before$ours"
}

remove_extension() {
    if is_listed NonRemovableSystemExtensions; then
        say "Device management holds the extension $extension: a profile lists it as not" \
            "removable. Remove that profile first."
        return 1
    fi
    is_listed RemovableSystemExtensions ||
        say "The system may ask an administrator to approve the removal of the extension."
    answer=$("$tool" deactivate 2>&1)
    code=$?
    [ -z "$answer" ] || say "$answer"
    case $code in
    0) say "The extension is removed." ;;
    4) say "The extension is removed at the next start of the machine." ;;
    3)
        say "The removal of the extension waits for an approval in System Settings."
        return 1
        ;;
    *)
        say "The extension could NOT be removed (code $code)."
        return 1
        ;;
    esac
}

with_records=no
force=no
for argument in "$@"; do
    case $argument in
    --with-records) with_records=yes ;;
    --force) force=yes ;;
    --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

if [ "$(id -u)" != 0 ]; then
    say "Only root can do this: run it with sudo."
    exit 1
fi

tool="$root$app/Contents/MacOS/$program"
found=$(profiles show -type configuration -output stdout-xml |
    tr -d '\n\t\r' | sed 's/> *</></g')

# A job could activate the extension again.
for label in $labels; do
    launchctl bootout "system/$label" 2>/dev/null || :
done
if [ ! -x "$tool" ]; then
    say "The app is not there, and with it nothing that could remove the extension. The system" \
        "removes an extension whose app is gone."
elif ! remove_extension; then
    [ "$force" = yes ] || stop_here
fi

for label in $labels; do
    rm -f "$root/Library/LaunchDaemons/$label.plist"
    say "The job $label is removed."
done
rm -rf "$root${app:?}"
say "The app $app is removed."
if pkgutil --forget "$package"; then
    say "The receipt $package is forgotten."
else
    say "There was no receipt $package."
fi
if [ "$with_records" = yes ]; then
    rm -rf "$root${records:?}" "$root${logs:?}"
    say "What was recorded in $records and the logs in $logs are removed."
    for record in "/Users/$account" "/Groups/$account"; do
        dscl . -delete "$record" 2>/dev/null || :
    done
    say "The account $account is removed."
else
    # Whoever got its number next could read the records.
    say "What was recorded stays in $records, the logs in $logs, and the account $account that" \
        "may read them; --with-records removes all three."
fi
say "Profiles of device management stay; remove them there."
exit 0
