//! The commands in the README and the documents: each is one that the program takes, or a recipe of the justfile; links lead somewhere.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use support::*;

/// Commands that take no time and need nothing: they are run as they stand.
const CHEAP: [&str; 5] = ["grids", "bases", "schema", "schedule", "plan"];

/// The documents that people read first, with their text.
fn documents() -> Vec<(PathBuf, String)> {
    let inner = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = inner.chain(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name))).collect();
    all.sort();
    all.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// What stands in backticks or on a line of code, as commands: without comments, environment and what is piped on.
fn commands(text: &str) -> Vec<Vec<String>> {
    let prose: String = text.lines().filter(|line| !line.starts_with("    ")).map(|line| format!("{line} ")).collect();
    let quoted = prose.split('`').skip(1).step_by(2).map(String::from);
    let lines = text.lines().filter(|line| line.starts_with("    ")).map(|line| line.split(" # ").next().unwrap().to_string());
    let parts = |code: String| code.split(" && ").flat_map(|part| part.split(" | ")).map(str::to_string).collect::<Vec<String>>();
    quoted.chain(lines).flat_map(parts).map(|part| words(&part)).filter_map(program).collect()
}

/// Words of a command line, those in quotes whole.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The command from its program on, `ddpm` or `just`; none where it is another one. What redirects its output is left out.
fn program(words: Vec<String>) -> Option<Vec<String>> {
    let from = words.iter().position(|word| !word.contains('=') || word.starts_with('-'))?;
    let mut rest: Vec<String> = words[from..].iter().take_while(|word| *word != ">").cloned().collect();
    let name = rest.first()?.rsplit('/').next()?.to_string();
    rest[0] = name;
    (["ddpm", "just"].contains(&&rest[0][..]) && rest.len() > 1).then_some(rest)
}

/// The justfile's recipes, and whether each hands its arguments to the program's command of the same name.
fn recipes() -> Vec<(String, bool)> {
    let text = fs::read_to_string(root().join("justfile")).unwrap();
    let blocks = text
        .split("\n\n")
        .flat_map(|block| block.lines().find(|line| line.ends_with(':') && !line.starts_with(['#', ' '])).zip(Some(block)));
    let recipe = |(head, block): (&str, &str)| {
        let name = head.split([' ', ':']).next().unwrap().to_string();
        let behind = block.split(&format!("{{{{ddpm}}}} {name} ")).nth(1);
        let hands = behind.is_some_and(|behind| behind.split("&&").next().unwrap().contains("\"$@\""));
        (name, hands)
    };
    blocks.map(recipe).collect()
}

#[test]
fn commands_in_documents_are_commands() {
    let (recipes, mut seen) = (recipes(), BTreeSet::new());
    for (path, text) in documents() {
        for words in commands(&text) {
            let shown = || format!("{}: {}", path.display(), words.join(" "));
            let mut arguments = words[1..].to_vec();
            if words[0] == "just" {
                let (_, hands) =
                    recipes.iter().find(|(name, _)| *name == words[1]).unwrap_or_else(|| panic!("{}: no such recipe", shown()));
                if !hands {
                    continue;
                }
            }
            // Which builds with emulation have.
            if arguments.iter().any(|word| word == "--operations") && !cfg!(feature = "emulation") {
                continue;
            }
            seen.insert(arguments[0].clone());
            // A command that is told to help reads all before that first.
            let is_whole = arguments.iter().all(|word| !word.chars().any(char::is_uppercase) && word != "my-question");
            let is_run = words[0] == "ddpm" && is_whole && CHEAP.contains(&&arguments[0][..]);
            if !is_run {
                arguments.push("--help".into());
            }
            let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(output.status.success(), "{}\n{}", shown(), stderr(&output));
        }
    }
    for command in ["ablate", "plan", "compare", "claims", "fid", "import", "export", "bench", "doctor", "schedule"] {
        assert!(seen.contains(command), "{command} stands in no document: {seen:?}");
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut links = 0;
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.starts_with("http") {
                assert!(path.parent().unwrap().join(link).exists(), "{}: {link}", path.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn the_readme_is_a_screen() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "{lines} lines: what is more belongs in docs");
}
