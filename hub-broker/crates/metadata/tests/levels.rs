//! A hub by itself and its feature level, over crashes and with other releases.

#[path = "common/mod.rs"]
mod common;

use std::future::Future;
use std::path::Path;

use common::{brisk, eventually, life_as};
use metadata::{Hub, Metadata, Ousted, StartError, Unfit, Upgraded};
use shards::Levels;

const OLDER: Levels = Levels { least: 0, most: 0 };
const NEWER: Levels = Levels { least: 1, most: 1 };

fn life<T, F: Future<Output = T>>(
    dir: &Path,
    levels: Levels,
    lived: impl FnOnce(Result<Metadata, StartError>) -> F,
) -> T {
    life_as(dir, brisk(), |this| Hub { levels: Some(levels), ..this }, lived)
}

#[test]
fn a_hub_that_crashes_after_it_was_upgraded_starts_again_and_registers_what_it_supports() {
    let dir = tempfile::tempdir().expect("a folder");
    life(dir.path(), OLDER, |metadata| async {
        let metadata = metadata.expect("a hub");
        assert_eq!(metadata.view().feature_level, 0);
        // Its checkpoint is what later starts begin with, at the level of now.
        metadata.shards().clone().shutdown().await;
    });
    life(dir.path(), Levels::OWN, |metadata| async {
        let metadata = metadata.expect("a hub");
        assert_eq!(metadata.view().feature_level, 0, "nobody has raised it");
        assert_eq!(metadata.upgrade().await, Ok(Upgraded { from: 0, to: 1 }));
        assert_eq!(metadata.upgrade().await, Ok(Upgraded { from: 1, to: 1 }));
    });
    for levels in [Levels::OWN, NEWER, Levels::OWN] {
        life(dir.path(), levels, |metadata| async move {
            let metadata = metadata.expect("a hub");
            let registered = || metadata.view().hubs().all(|hub| hub.levels == Some(levels));
            eventually("the registration is here", registered).await;
            assert_eq!(metadata.view().feature_level, 1);
        });
    }
}

#[test]
fn a_hub_does_not_start_with_a_release_that_does_not_support_its_level() {
    let dir = tempfile::tempdir().expect("a folder");
    let why = |metadata: Result<Metadata, StartError>| async {
        match metadata {
            Ok(metadata) => metadata.ousted().await,
            Err(StartError::Ousted(why)) => why,
            Err(error) => panic!("{error}"),
        }
    };
    life(dir.path(), OLDER, |metadata| async { metadata.expect("a hub").shards().clone().shutdown().await });
    let too_new = Ousted::Unfit(Unfit::TooNew { level: 0, supported: NEWER });
    assert_eq!(life(dir.path(), NEWER, why), too_new);
    life(dir.path(), Levels::OWN, |metadata| async {
        metadata.expect("a hub").upgrade().await.expect("an upgrade");
    });
    let too_old = Ousted::Unfit(Unfit::TooOld { level: 1, supported: OLDER });
    assert_eq!(life(dir.path(), OLDER, why), too_old);
    life(dir.path(), NEWER, |metadata| async { drop(metadata.expect("a hub")) });
}
