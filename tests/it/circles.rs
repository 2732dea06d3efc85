//! No circles between files: of two files in a folder, only one may need the other.
//!
//! A file that needs another which needs it back can't be read, moved or tested by itself. The paths
//! in the sources are resolved as the compiler does it, through re-exports to the file that defines
//! what they name. A folder and the file of its name stand for one file among those beside them, and
//! what is in the folder is looked at for itself. Code of tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, slice};

use crate::program::root;

/// Circles that are still there, as `folder: files`. An entry may go or become shorter; none comes.
const CIRCLES: [&str; 0] = [];

/// The path of a module from the root of the crate, or any path as it is written.
type Path = Vec<String>;

/// What a module says of others.
struct Module {
    /// Modules that are files of their own.
    children: BTreeSet<String>,
    /// What `use` brings in: names, and where they come from.
    uses: BTreeMap<String, Path>,
    /// Paths in the code, and those of each `use` that is not for others.
    paths: BTreeSet<Path>,
}

type Modules = BTreeMap<Path, Module>;

/// By file of a folder: the files there that it needs, each with a place where it says so.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// Returns the words and signs of a source, without comments and texts.
fn tokens(source: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let fence = rest.strip_prefix('r').and_then(|rest| rest.split_once('"'));
        let fence = fence.filter(|(fence, _)| fence.bytes().all(|byte| byte == b'#'));
        let is_letter = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some((fence, text)) = fence {
            let end = format!("\"{fence}");
            2 + fence.len() + text.find(&end).unwrap() + end.len()
        } else if first == '"' || (first == '\'' && is_letter) {
            let mut is_escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == first && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            end.unwrap() + 2
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let word = word.unwrap_or(rest.len()).max(first.len_utf8());
            let length = if rest.starts_with("::") { 2 } else { word };
            tokens.push(&rest[..length]);
            length
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Takes out what only tests have: each item under `cfg(test)`.
fn without_tests(mut tokens: Vec<&str>) -> Vec<&str> {
    let is_cfg = |three: &[&str]| three == ["#", "[", "cfg"];
    let mut at = 0;
    while let Some(found) = tokens[at..].windows(3).position(is_cfg) {
        at += found;
        let end = at + tokens[at..].iter().position(|token| *token == "]").unwrap();
        let attribute = &tokens[at..end];
        if attribute.contains(&"not") || !attribute.contains(&"test") {
            at = end;
            continue;
        }
        let mut depth = 0;
        let item = tokens[end..].iter().position(|token| {
            depth += i32::from(*token == "{") - i32::from(*token == "}");
            depth == 0 && ["}", ";"].contains(token)
        });
        tokens.drain(at..=end + item.unwrap());
    }
    tokens
}

/// Reads a tree of a `use`, as names and paths. Returns the place after it.
fn read_use(
    tokens: &[&str],
    mut at: usize,
    stem: &[String],
    found: &mut Vec<(String, Path)>,
) -> usize {
    let mut path = stem.to_vec();
    loop {
        match tokens[at] {
            "{" => {
                while tokens[at] != "}" {
                    at = read_use(tokens, at + 1, &path, found);
                }
                return at + 1;
            }
            "as" => {
                found.push((tokens[at + 1].to_owned(), path));
                return at + 2;
            }
            "," | "}" | ";" => {
                // Behind the last comma there is nothing more.
                if path != stem || tokens[at - 1] == "self" {
                    found.push((path.last().cloned().unwrap_or_default(), path));
                }
                return at;
            }
            "::" => {}
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
}

/// Reads what a source says of other modules.
fn module(source: &str) -> Module {
    let tokens = without_tests(tokens(source));
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let (mut children, mut uses, mut paths) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        match tokens[at] {
            "mod" if tokens[at + 2] == ";" => {
                children.insert(tokens[at + 1].to_owned());
                at += 2;
            }
            "use" => {
                let mut found = Vec::new();
                at = read_use(&tokens, at + 1, &[], &mut found);
                if before != "pub" && before != ")" {
                    paths.extend(found.iter().map(|(_, path)| path.clone()));
                }
                uses.extend(found);
            }
            name if is_name(name) && before != "." && before != "::" => {
                let mut path = vec![name.to_owned()];
                while let Some(["::", name]) = tokens.get(at + 1..at + 3)
                    && is_name(name)
                {
                    path.push((*name).to_owned());
                    at += 2;
                }
                paths.insert(path);
            }
            _ => {}
        }
        at += 1;
    }
    Module {
        children,
        uses,
        paths,
    }
}

/// Reads the sources that `mod` lines lead to, from `lib.rs` on; `read` gets their paths.
fn modules(read: &dyn Fn(&str) -> Option<String>) -> Modules {
    let mut modules = Modules::new();
    let mut waiting = vec![Path::new()];
    while let Some(path) = waiting.pop() {
        let name = path.join("/");
        let source = match name.as_str() {
            "" => read("lib.rs"),
            _ => read(&format!("{name}.rs")).or_else(|| read(&format!("{name}/mod.rs"))),
        };
        let module = module(&source.unwrap_or_else(|| panic!("`{name}` has no source")));
        let children = module.children.iter();
        waiting.extend(children.map(|child| [&path[..], slice::from_ref(child)].concat()));
        modules.insert(path, module);
    }
    modules
}

/// Returns the module that defines what a path in `from` names; none where that is a module itself or
/// of another crate.
fn definer(modules: &Modules, from: &[String], path: &[String], depth: usize) -> Option<Path> {
    let module = modules.get(from)?;
    let (mut at, rest) = match path.first()?.as_str() {
        "crate" => (Path::new(), &path[1..]),
        "self" => (from.to_vec(), &path[1..]),
        "super" => (from[..from.len().saturating_sub(1)].to_vec(), &path[1..]),
        first if module.children.contains(first) => (from.to_vec(), path),
        // A name that is brought in under itself is another crate's.
        first if depth < 8 => {
            let path = [module.uses.get(first)?, &path[1..]].concat();
            return definer(modules, from, &path, depth + 1);
        }
        _ => return None,
    };
    for (index, name) in rest.iter().enumerate() {
        let module = modules.get(&at)?;
        if name == "super" {
            at.pop();
        } else if module.children.contains(name) {
            at.push(name.clone());
        } else if module.uses.contains_key(name) && depth < 8 {
            return definer(modules, &at, &rest[index..], depth + 1);
        } else {
            return Some(at);
        }
    }
    None
}

/// Returns what the files of each folder need of each other.
fn graphs(modules: &Modules) -> BTreeMap<Path, Graph> {
    let mut graphs: BTreeMap<Path, Graph> = BTreeMap::new();
    for (from, module) in modules {
        for path in &module.paths {
            let Some(to) = definer(modules, from, path, 0).filter(|to| to != from) else {
                continue;
            };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let file = |of: &[String]| of.get(common).map_or("mod", String::as_str).to_owned();
            let graph = graphs.entry(from[..common].to_vec()).or_default();
            let said = format!("{} has `{}`", from.join("/"), path.join("::"));
            let needs = graph.entry(file(from)).or_default();
            needs.insert(file(&to), said);
        }
    }
    graphs
}

/// Returns the files that a file needs, directly or through others.
fn reach<'a>(graph: &'a Graph, file: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![file]);
    while let Some(file) = waiting.pop() {
        let needs = graph.get(file).into_iter().flatten();
        waiting.extend(needs.filter_map(|(file, _)| reached.insert(&**file).then_some(&**file)));
    }
    reached
}

/// Returns each circle as `folder: files`, with what makes it one.
fn circles(modules: &Modules) -> BTreeMap<String, String> {
    let mut circles: BTreeMap<String, String> = BTreeMap::new();
    for (folder, graph) in &graphs(modules) {
        for (file, needs) in graph {
            let mut circle = reach(graph, file);
            circle.retain(|other| reach(graph, other).contains(file.as_str()));
            let files: Vec<&str> = circle.iter().copied().collect();
            let name = format!("{}: {}", folder.join("/"), files.join(", "));
            for (other, said) in needs {
                if circle.contains(other.as_str()) {
                    *circles.entry(name.clone()).or_default() += &format!("\n    {said}");
                }
            }
        }
    }
    circles
}

#[test]
fn no_two_files_need_each_other() {
    let read = |path: &str| fs::read_to_string(root().join("src").join(path)).ok();
    let found = circles(&modules(&read));
    let new = found
        .iter()
        .filter(|(circle, _)| !CIRCLES.contains(&circle.as_str()));
    let new = new.map(|(circle, said)| format!("a circle: {circle}{said}"));
    let gone = CIRCLES
        .iter()
        .filter(|listed| !found.contains_key(**listed));
    let gone = gone.map(|circle| format!("no circle any more, take it off the list: {circle}"));
    let strays: Vec<String> = new.chain(gone).collect();
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn circles_are_found_through_re_exports_and_no_others() {
    let tree = r#"
lib.rs: pub mod load; mod flag;
flag.rs: fn f() -> char { "crate::load::A"; '"' } // crate::load::A
load/mod.rs: mod a; mod b; mod c; mod d; mod e; #[cfg(test)] mod tests; pub use a::A; \
    pub(crate) use b::{helper as help}; pub struct Own; fn f() { c::run(); }
load/a.rs: use super::{Own, help}; pub struct A; fn f() { crate::flag::f(); }
load/b.rs: fn f() { let a = crate::load::A::new(); }
load/c.rs: use super::Own;
load/d.rs: mod inner; use inner::Inner; pub struct D;
load/d/inner.rs: use super::super::e; fn f(_: e::E) {}
load/e.rs: use super::d::D; #[cfg(test)] mod tests { use crate::load::c::C; }
"#;
    let tree = tree.replace("\\\n", "");
    let read = |path: &str| {
        let mut files = tree.lines().filter_map(|line| line.split_once(": "));
        let source = files.find(|(name, _)| *name == path);
        source.map(|(_, source)| source.to_owned())
    };
    let found: Vec<String> = circles(&modules(&read)).into_keys().collect();
    assert_eq!(found, ["load: a, b", "load: c, mod", "load: d, e"]);
}
