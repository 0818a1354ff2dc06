//! A data directory whose log was cut: the doctor, backups, and what becomes of it without its store or its base.

use std::path::Path;

use thyme_core::error::ErrorKind;
use thyme_engine::maintenance::{self, Health};
use thyme_engine::{Engine, Options, ReadAt};
use thyme_testing::clock::HandClock;

use crate::compare_reads;
use crate::world::{DAY, Terms, World, open};

fn open_at(data: &Path, clock: &HandClock) -> Engine {
    let log = thyme_log::Options { segment_bytes: 20_000 };
    let options =
        Options { path: Some(data.to_owned()), shards: 2, log, env: clock.env(), ..Options::default() };
    Engine::open(options).unwrap()
}

/// A world over a real directory.
fn world(dir: &Path) -> World {
    let terms = Terms { orders: Some("8d"), lateness: Some("2d") };
    let mut world = World::under(terms, &dir.join("unused"), None, 21);
    world.engine.close();
    world.twin = open(None, &world.clock, None);
    world.engine = std::sync::Arc::new(open_at(&dir.join("data"), &world.clock));
    world.commit(&[]);
    world
}

fn same(world: &World, engine: &Engine) {
    let theirs = world.twin.snapshot(ReadAt::default()).unwrap();
    let ours = engine.snapshot(ReadAt::default()).unwrap();
    for name in ours.catalog.datasets.keys() {
        for user in 0..4 {
            for days in [0, 1, 9] {
                compare_reads(&ours, &theirs, name, &format!("u{user}"), world.now() - days * DAY);
            }
        }
    }
}

/// What the doctor says of a directory, whatever the disk of this machine is like.
fn health(data: &Path, world: &World) -> (Health, String) {
    let mut found = maintenance::examine(data, true, world.now(), &|_, _| {}).unwrap();
    found.findings.retain(|finding| finding.part != "disk");
    (found.health(), format!("{:?}", found.findings))
}

#[test]
fn a_cut_directory_is_examined_backed_up_and_restored_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let mut world = world(dir.path());
    world.live(12);
    world.engine.backup(&backup).unwrap();
    world.live(28);
    world.cut();
    let first = world.engine.log_start().0;
    assert!(first > 1);
    // Over one whose end has left the log since.
    world.engine.backup(&backup).unwrap();
    // It holds the directory until it is gone.
    world.engine = std::sync::Arc::new(open(None, &world.clock, None));
    let (healthy, said) = health(&data, &world);
    assert!(healthy == Health::Intact && said.contains(&format!("before e{first}")), "{said}");

    let restored = dir.path().join("restored");
    maintenance::restore(&backup, &restored, &|_, _| {}).unwrap();
    assert_eq!(health(&restored, &world).0, Health::Intact);
    let engine = open_at(&restored, &world.clock);
    assert_eq!(engine.log_start().0, first);
    same(&world, &engine);
    drop(engine);
    // The log gives the store back.
    let aside = maintenance::set_store_aside(&restored).unwrap();
    assert!(aside.exists());
    let engine = open_at(&restored, &world.clock);
    same(&world, &engine);
    drop(engine);
    // A backup of a directory that nobody uses.
    let cold = dir.path().join("cold");
    maintenance::backup_directory(&restored, &cold, world.clock.env().as_ref(), &|_, _| {}).unwrap();
    let again = dir.path().join("again");
    maintenance::restore(&cold, &again, &|_, _| {}).unwrap();
    same(&world, &open_at(&again, &world.clock));

    let base = restored.join("log").join("base");
    let whole = std::fs::read(&base).unwrap();
    std::fs::write(&base, &whole[1..]).unwrap();
    let (found, said) = health(&restored, &world);
    assert!(found == Health::Damaged && said.contains("base") && said.contains("restore it"), "{said}");
    std::fs::remove_file(&base).unwrap();
    let (found, said) = health(&restored, &world);
    assert!(found == Health::Damaged && said.contains("is missing"), "{said}");
    let refused = maintenance::set_store_aside(&restored).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    // A store of before the cut does not go with a log of after it.
    std::fs::write(&base, &whole).unwrap();
    assert_eq!(health(&restored, &world).0, Health::Attention);
}
