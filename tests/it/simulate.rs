//! `simulate`: how a server ends that another program has started.

use crate::program::Folder;

#[test]
fn a_server_can_end_with_its_stdin() {
    let folder = Folder::new();
    // Programs that are run here have an empty stdin.
    folder
        .run(&["simulate", "--port", "0", "--until-stdin-closes"])
        .expect_code(0);
}
