//! The complete help of all verbs is one file, `tests/snapshots/cli_reference.md`, which the README
//! links to. `TOKENTAPE_UPDATE=1 cargo test` writes it anew.

use std::fs;

use crate::program::{Folder, root};

#[test]
fn the_reference_has_the_help_of_every_verb() {
    let folder = Folder::new();
    let mut reference = String::from("# Command line reference\n");
    // Each verb is followed by the verbs below it, as the help lists them.
    let mut verbs = vec![Vec::<String>::new()];
    while let Some(verb) = verbs.pop() {
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        let help = folder.run(&words).expect_code(0).stdout;
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let name = [&["tokentape".to_owned()], verb.as_slice()]
            .concat()
            .join(" ");
        let text = lines.join("\n");
        reference += &format!("\n## {name}\n\n```text\n{}\n```\n", text.trim_end());
        for below in subcommands(&help).into_iter().rev() {
            verbs.push([verb.as_slice(), &[below]].concat());
        }
    }
    let path = root().join("tests/snapshots/cli_reference.md");
    if std::env::var_os("TOKENTAPE_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &reference).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let lines = kept.lines().zip(reference.lines());
    if let Some((number, (kept, now))) = lines.enumerate().find(|(_, (kept, now))| kept != now) {
        panic!(
            "{} line {}: has `{kept}`, and the help says `{now}`; TOKENTAPE_UPDATE=1 writes it anew",
            path.display(),
            number + 1
        );
    }
    assert_eq!(
        kept.len(),
        reference.len(),
        "TOKENTAPE_UPDATE=1 writes it anew"
    );
}

/// Reads the verbs out of a help's list of commands.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let name = line.strip_prefix("  ")?.split(' ').next()?;
            (!name.is_empty() && name != "help").then(|| name.to_owned())
        });
    names.collect()
}
