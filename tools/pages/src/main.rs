// SPDX-License-Identifier: Apache-2.0
//! `vexfs-pages DIR MAN`: writes the manual pages and shell completions of the tools below DIR, where `share` of a
//! prefix has them.
//!
//! Options and commands are those of the command lines; MAN (docs/man) has the sections that say more: `vexctl.1.in`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use clap::Command;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(dir), Some(man)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: vexfs-pages DIR MAN");
    };
    for (section, command) in [
        ("1", vexctl::cli::Cli::command()),
        ("8", mkfs_vexfs::cli::Cli::command()),
    ] {
        completions(&dir, &mut command.clone())?;
        let mut command = without_help(command);
        command.build();
        let more = man.join(format!("{}.{section}.in", command.get_name()));
        let more = fs::read_to_string(&more).with_context(|| format!("cannot read {}", more.display()))?;
        page(&dir, section, &command, &more)?;
    }
    Ok(())
}

/// Without the command that prints help, which needs no page.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes the pages of a command and, with names like `vexctl-search`, of its commands.
fn page(dir: &Path, section: &str, command: &Command, more: &str) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_string();
    let man = Man::new(command.clone())
        .section(section)
        .source("VexFS")
        .manual("VexFS");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    match more {
        "" => text.extend_from_slice(b".SH \"SEE ALSO\"\nvexctl(1), which says more\n"),
        more => text.extend_from_slice(more.as_bytes()),
    }
    write(dir.join(format!("man/man{section}/{name}.{section}")), &text)?;
    command
        .get_subcommands()
        .try_for_each(|command| page(dir, section, command, ""))
}

/// Writes what completes the command in each shell, where the shell looks for it.
fn completions(dir: &Path, command: &mut Command) -> Result<()> {
    let name = command.get_name().to_string();
    for (shell, path) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, command, &name, &mut text);
        write(dir.join(path), &text)?;
    }
    Ok(())
}

fn write(path: PathBuf, text: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}
