//! `movies-api user`: the users file, changed without an editor. A running server reads it again by
//! itself.

use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::auth::Secret;
use crate::auth::keys::aside;
use crate::auth::users::Roll;
use crate::auth::users::file::{Hash, PASSWORD_BYTES_MAX, check_name, with_user, without_user};
use crate::config::{UserArgs, UserCommand};

/// Changes or shows the users file.
///
/// # Errors
/// What is wrong with the file, the name or the password.
pub fn run(args: &UserArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        UserCommand::Add { name, role, file } => {
            check_name(name)?;
            edit(&file.users, true, |text, roll| {
                if roll.find(name).is_some() {
                    bail!(
                        "{name} is there already; `movies-api user passwd` sets another password"
                    );
                }
                Ok(with_user(text, name, role, &Hash::of(&password()?)?))
            })
        }
        UserCommand::Passwd { name, file } => edit(&file.users, false, |text, roll| {
            let user = roll.find(name).with_context(|| nobody(name))?;
            Ok(with_user(text, name, user.grants(), &Hash::of(&password()?)?))
        }),
        UserCommand::Rm { name, file } => edit(&file.users, false, |text, roll| {
            roll.find(name).with_context(|| nobody(name))?;
            Ok(without_user(text, name))
        }),
        UserCommand::List { file } => list(&file.users),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn nobody(name: &str) -> String {
    format!("there is no user {name}; `movies-api user list` shows who is there")
}

fn list(path: &Path) -> anyhow::Result<()> {
    let (_, roll) = read(path)?;
    let mut out = io::stdout().lock();
    for user in roll.iter() {
        writeln!(out, "{}\t{}", user.name(), user.grants().roles())?;
    }
    Ok(())
}

/// Reads the file, changes its text and puts the new one in its place at once. Two who edit wait
/// for one another.
fn edit(
    path: &Path,
    may_make: bool,
    change: impl FnOnce(&str, &Roll) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    // Through a link the file itself is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_absent| path.to_owned());
    let _lock = lock(&path)?;
    let (text, roll) = match read(&path) {
        Err(error) if may_make && is_absent(&error) => (String::new(), Roll::default()),
        other => other?,
    };
    let text = change(&text, &roll)?;
    // What is written can be read again.
    Roll::parse(&text)?;
    replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<(String, Roll)> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let roll = Roll::parse(&text).with_context(|| path.display().to_string())?;
    Ok((text, roll))
}

fn is_absent(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Held while the file is changed; the system lets go of it however the process ends. It is the
/// folder that is locked: a file for that would belong to whoever came first, and root may come first.
fn lock(path: &Path) -> anyhow::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let locked = File::open(folder).and_then(|file| file.lock().map(|()| file));
    locked.with_context(|| format!("cannot lock {}", folder.display()))
}

/// Written aside, synced and renamed: a server never reads half a file. A new one is for its owner's
/// eyes; an old one keeps owner, group and mode, or servers could not read what root has changed.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let (aside, mut file) = aside(path)?;
    let replaced = keep_owner(path, &file)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path));
    if replaced.is_err() {
        // What went wrong is told; that this did, too, would help nobody.
        drop(fs::remove_file(&aside));
    }
    replaced
}

fn keep_owner(path: &Path, file: &File) -> io::Result<()> {
    let Ok(old) = fs::metadata(path) else { return Ok(()) };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("it belongs to another user or group, which must stay so: {error}"),
            )
        })?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}

/// Asks twice without showing it, or takes the first line of standard input where nobody sits
/// there.
fn password() -> anyhow::Result<Secret> {
    if io::stdin().is_terminal() {
        let ask =
            |prompt| rpassword::prompt_password(prompt).context("cannot ask for the password");
        let password = ask("Password: ")?;
        if ask("Again: ")? != password {
            bail!("the passwords are not the same; nothing was changed");
        }
        return Ok(Secret::new(password));
    }
    let mut text = String::new();
    let most = PASSWORD_BYTES_MAX as u64 + 2;
    io::stdin().lock().take(most).read_to_string(&mut text).context("cannot read the password")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains('\n') {
        bail!("standard input has more than one line; give the password alone");
    }
    Ok(Secret::new(text.to_owned()))
}
