//! Values, directories, subtrees, views, the log.

use rustyrail::store::{How, Leaf, Path, StoreError, TypeTag};

use super::fixture::*;

pub fn values_are_set_read_and_removed(fixture: &Fixture) {
    let main = fixture.main();
    assert_eq!(main.head().unwrap(), None);
    assert_eq!(main.get(&path("a")).unwrap(), None);
    set(&main, "services/web/vip", "203.0.113.10");
    set(&main, "services/web/port", "443");
    assert_eq!(
        main.get(&path("services/web/vip")).unwrap(),
        Some(leaf("203.0.113.10"))
    );
    let again = main
        .set(&path("services/web/port"), &leaf("443"), &info("again"))
        .unwrap();
    assert_eq!(
        (again.how, again.head),
        (How::Unchanged, main.head().unwrap())
    );
    main.remove(&path("services/web/vip"), &info("remove"))
        .unwrap();
    assert_eq!(state(&main), ["services/web/port=443"]);
    main.remove(&path("services"), &info("remove")).unwrap();
    assert_eq!(state(&main), [""; 0]);
}

pub fn directories_are_listed(fixture: &Fixture) {
    let main = fixture.main();
    assert_eq!(
        main.view().unwrap().list(&Path::root()).unwrap(),
        Some(Vec::new())
    );
    for at in ["b/x", "a", "b.c", "b/y"] {
        set(&main, at, "1");
    }
    let view = main.view().unwrap();
    let names = |at: &str| -> Option<Vec<String>> {
        let items = view.list(&path(at)).unwrap()?;
        Some(items.into_iter().map(|item| item.name).collect())
    };
    assert_eq!(names("").unwrap(), ["a", "b", "b.c"]);
    assert_eq!(names("b").unwrap(), ["x", "y"]);
    assert_eq!(names("a"), None);
    assert_eq!(names("c"), None);
    let kinds: Vec<bool> = view
        .list(&Path::root())
        .unwrap()
        .unwrap()
        .iter()
        .map(|item| item.tag.is_none())
        .collect();
    assert_eq!(kinds, [false, true, false]);
}

pub fn subtrees_move_as_one(fixture: &Fixture) {
    let store = fixture.store();
    let (main, other) = (store.main(), store.branch(&branch("other")));
    set(&main, "a/b/c", "1");
    set(&main, "a/b/d", "2");
    let subtree = main
        .view()
        .unwrap()
        .find_tree(&path("a/b"))
        .unwrap()
        .unwrap();
    assert_eq!(text(&subtree, "c"), "1");
    other.set_tree(&path("x"), &subtree, &info("copy")).unwrap();
    assert_eq!(state(&other), ["x/c=1", "x/d=2"]);
    assert!(
        main.view()
            .unwrap()
            .find_tree(&path("a/b/c"))
            .unwrap()
            .is_none()
    );

    // A tree that was never committed goes along with its objects.
    let mut draft = main.begin().unwrap();
    draft.set(&path("new/e"), &leaf("3")).unwrap();
    let subtree = draft.find_tree(&path("new")).unwrap().unwrap();
    drop(draft);
    let mut transaction = other.begin().unwrap();
    transaction.set_tree(&path("y"), &subtree).unwrap();
    transaction.commit(&info("from a draft")).unwrap();
    assert_eq!(
        state(&fixture.store().branch(&branch("other"))),
        ["x/c=1", "x/d=2", "y/e=3"]
    );
}

pub fn test_and_set_writes_only_over_what_it_expects(fixture: &Fixture) {
    let main = fixture.main();
    let at = path("lock");
    let test_and_set = |expected: Option<&str>, new: Option<&str>| {
        let (expected, new) = (expected.map(leaf), new.map(leaf));
        main.test_and_set(&at, expected.as_ref(), new.as_ref(), &info("lock"))
            .unwrap()
    };
    assert!(test_and_set(None, Some("a")));
    assert!(!test_and_set(None, Some("b")));
    assert!(!test_and_set(Some("b"), Some("c")));
    assert!(test_and_set(Some("a"), Some("b")));
    assert_eq!(state(&main), ["lock=b"]);
    assert!(test_and_set(Some("b"), None));
    assert_eq!(state(&main), [""; 0]);
}

pub fn a_view_never_changes(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let (view, head) = (main.view().unwrap(), main.head().unwrap().unwrap());
    set(&main, "a", "2");
    assert_eq!(text(&view, "a"), "1");
    assert_eq!(text(&fixture.store().at(&head).unwrap(), "a"), "1");
    assert_eq!(state(&main), ["a=2"]);
}

pub fn types_are_kept_and_checked(fixture: &Fixture) {
    let main = fixture.main();
    let mut transaction = main.begin().unwrap();
    transaction.write(&path("hits"), &Sum(3)).unwrap();
    transaction.set(&path("name"), &leaf("web")).unwrap();
    transaction.commit(&info("typed")).unwrap();
    let view = main.view().unwrap();
    assert_eq!(view.read::<Sum>(&path("hits")).unwrap(), Some(Sum(3)));
    assert_eq!(view.read::<Sum>(&path("none")).unwrap(), None);
    assert!(matches!(
        view.read::<Sum>(&path("name")),
        Err(StoreError::OtherType { .. })
    ));
    let items = view.list(&Path::root()).unwrap().unwrap();
    let tags: Vec<String> = items
        .iter()
        .filter_map(|item| item.tag.as_ref())
        .map(TypeTag::to_string)
        .collect();
    assert_eq!(tags, ["sum", "plain"]);
    let hits: Leaf = view.get(&path("hits")).unwrap().unwrap();
    assert_eq!(hits.bytes(), Some(b"3".as_slice()));
}

pub fn the_log_tells_who_when_and_why(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a/b", "1");
    set(&main, "c", "1");
    set(&main, "a/b", "2");
    let subjects = |at: &str| -> Vec<String> {
        let log = main.log(&path(at)).unwrap();
        log.into_iter()
            .map(|(_, commit)| commit.subject().to_owned())
            .collect()
    };
    let mut all = subjects("");
    all.sort();
    assert_eq!(all, ["a/b = 1", "a/b = 2", "c = 1"]);
    assert_eq!(subjects("c"), ["c = 1"]);
    let mut of_a = subjects("a");
    of_a.sort();
    assert_eq!(of_a, ["a/b = 1", "a/b = 2"]);
    let (_, commit) = main.log(&path("c")).unwrap().remove(0);
    assert_eq!(commit.author, info("").author);
}
