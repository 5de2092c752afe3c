//! What a file's cache keeps and loses: hand-made patterns first, then random ones against a
//! model that keeps a whole copy of the file after each change.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::file::{FileImage, Losses, PAGE_BYTES, PageFate, SECTOR_BYTES};
use super::power::Survive;

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Two durable pages of `a`; unsynced: `b` over all of page 0, `c` over page 1, length 3 pages,
/// `d` in page 2.
fn layered() -> FileImage {
    let mut file = FileImage::default();
    file.resize(2 * PAGE_BYTES);
    file.write(0, &[b'a'; 2 * PAGE_BYTES]);
    file.sync();
    file.write(0, &[b'b'; PAGE_BYTES]);
    file.write(PAGE_BYTES, &[b'c'; PAGE_BYTES]);
    file.resize(3 * PAGE_BYTES);
    file.write(2 * PAGE_BYTES, &[b'd'; PAGE_BYTES]);
    file
}

fn page_letters(file: &FileImage) -> String {
    file.bytes().chunks(PAGE_BYTES).map(|page| page[0] as char).collect()
}

#[test]
fn nothing_survives_a_power_failure_that_keeps_nothing() {
    let mut file = layered();
    let losses = file.settle(Survive::Nothing, &mut random(1));
    assert_eq!(page_letters(&file), "aa");
    assert_eq!(
        losses,
        Losses { lost_writes: 3, torn_writes: 0, lost_sectors: 24, lost_resizes: 1 }
    );
}

#[test]
fn everything_survives_a_power_failure_that_keeps_everything_and_is_durable_then() {
    let mut file = layered();
    assert_eq!(file.settle(Survive::Everything, &mut random(1)), Losses::default());
    assert_eq!(page_letters(&file), "bcd");
    file.settle(Survive::Nothing, &mut random(1));
    assert_eq!(page_letters(&file), "bcd");
}

#[test]
fn a_sync_makes_the_cache_durable() {
    let mut file = layered();
    file.sync();
    assert_eq!(file.unsynced(), 0);
    file.settle(Survive::Nothing, &mut random(1));
    assert_eq!(page_letters(&file), "bcd");
}

#[test]
fn each_prefix_occurs_and_nothing_else() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut file = layered();
        file.settle(Survive::Prefix, &mut random(seed));
        seen.insert(page_letters(&file));
    }
    let expected = ["aa", "ba", "bc", "bc\0", "bcd"].map(str::to_owned);
    assert_eq!(seen, expected.into());
}

#[test]
fn whole_writes_survive_or_not_each_on_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..256 {
        let mut file = layered();
        file.settle(Survive::Writes { keep_percent: 50 }, &mut random(seed));
        assert!(file.bytes().chunks(PAGE_BYTES).all(|page| page.iter().all(|b| *b == page[0])));
        seen.insert(page_letters(&file));
    }
    // A write past the end survives together with its length; the length survives alone, too.
    let all = ["aa", "ba", "ac", "bc", "aa\0", "ba\0", "ac\0", "bc\0", "aad", "bad", "acd", "bcd"];
    assert_eq!(seen, all.map(str::to_owned).into());
}

#[test]
fn a_write_is_torn_at_sectors_and_only_there() {
    let mut torn = 0;
    for seed in 0..64 {
        let mut file = layered();
        let survive = Survive::Sectors { sector_bytes: 512, keep_percent: 50 };
        torn += file.settle(survive, &mut random(seed)).torn_writes;
        assert!(file.bytes().chunks(SECTOR_BYTES).all(|s| s.iter().all(|byte| *byte == s[0])));
    }
    assert!(torn > 100, "of 192 writes of 8 sectors nearly all must be torn, not {torn}");
}

#[test]
fn a_sector_may_keep_any_of_its_unsynced_versions() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut file = FileImage::default();
        file.write(0, b"0");
        file.sync();
        file.write(0, b"1");
        file.write(0, b"2");
        let survive = Survive::Sectors { sector_bytes: 512, keep_percent: 50 };
        file.settle(survive, &mut random(seed));
        seen.insert(file.bytes()[0]);
    }
    assert_eq!(seen, [b'0', b'1', b'2'].into());
}

#[test]
fn a_cut_tail_comes_back_when_the_cut_is_lost() {
    let mut file = FileImage::default();
    file.write(0, b"abcdef");
    file.sync();
    file.resize(2);
    file.resize(4);
    assert_eq!(file.bytes(), b"ab\0\0");
    file.settle(Survive::Nothing, &mut random(1));
    assert_eq!(file.bytes(), b"abcdef");
}

#[test]
fn a_failed_sync_forgets_pages_and_a_later_sync_does_not_bring_them_back() {
    let mut file = layered();
    let fates = [PageFate::Written, PageFate::Forgotten, PageFate::Evicted];
    assert_eq!(file.forget(|page| fates[page]), 2);
    // Page 1 is in the cache only; page 2 was evicted, and below it is the hole of the new length.
    assert_eq!(page_letters(&file), "bc\0");
    file.sync();
    file.settle(Survive::Everything, &mut random(1));
    assert_eq!(page_letters(&file), "ba\0");
}

#[test]
fn a_forgotten_page_is_durable_once_it_is_written_and_synced_again() {
    let mut file = layered();
    file.forget(|_| PageFate::Forgotten);
    file.write(PAGE_BYTES, b"e");
    file.sync();
    file.settle(Survive::Nothing, &mut random(1));
    // The page goes out whole: what the failed sync forgot in it reaches the platter, too.
    assert_eq!(page_letters(&file), "ae\0");
    assert_eq!(file.bytes()[PAGE_BYTES + 1], b'c');
}

#[test]
fn holes_take_no_space_and_a_power_failure_gives_back_what_it_took() {
    let mut file = FileImage::default();
    file.resize(8 * PAGE_BYTES);
    assert_eq!(file.used_bytes(), 0);
    assert_eq!(file.new_bytes(PAGE_BYTES - 1, 2), 2 * PAGE_BYTES as u64);
    file.write(PAGE_BYTES, b"x");
    assert_eq!((file.used_bytes(), file.new_bytes(PAGE_BYTES, 9)), (PAGE_BYTES as u64, 0));
    file.sync();
    file.write(3 * PAGE_BYTES, b"y");
    assert_eq!(file.used_bytes(), 2 * PAGE_BYTES as u64);
    file.settle(Survive::Nothing, &mut random(1));
    assert_eq!(file.used_bytes(), PAGE_BYTES as u64);
    file.resize(PAGE_BYTES);
    assert_eq!(file.used_bytes(), 0);
}

/// Applies one random change to the file and to a plain vector.
fn change(file: &mut FileImage, model: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    if random.random_range(0..8) == 0 {
        let to = random.random_range(0..6 * PAGE_BYTES);
        file.resize(to);
        model.resize(to, 0);
        return;
    }
    let offset = random.random_range(0..5 * PAGE_BYTES);
    let data = vec![random.random::<u8>(); random.random_range(1..2 * PAGE_BYTES)];
    if model.len() < offset + data.len() {
        model.resize(offset + data.len(), 0);
    }
    model[offset..offset + data.len()].copy_from_slice(&data);
    file.write(offset, &data);
}

#[test]
fn random_changes_agree_with_a_copying_model() {
    for seed in 0..200 {
        let random = &mut random(seed);
        let (mut file, mut model) = (FileImage::default(), Vec::new());
        for _ in 0..6 {
            let mut versions = vec![model.clone()];
            for _ in 0..random.random_range(0..12) {
                change(&mut file, &mut model, random);
                assert_eq!(file.bytes(), model);
                versions.push(model.clone());
            }
            match random.random_range(0..4) {
                0 => file.sync(),
                1 => {
                    file.settle(Survive::Nothing, random);
                    assert_eq!(file.bytes(), versions[0], "seed {seed}");
                }
                2 => {
                    file.settle(Survive::Everything, random);
                    assert_eq!(file.bytes(), model, "seed {seed}");
                }
                _ => {
                    file.settle(Survive::Prefix, random);
                    // A write past the end is two changes: the length survives without the bytes.
                    let whole = versions.iter().any(|version| version == file.bytes());
                    let grown = versions.windows(2).any(|pair| {
                        let mut half = pair[0].clone();
                        half.resize(pair[1].len(), 0);
                        half == file.bytes()
                    });
                    assert!(whole || grown, "seed {seed}: no prefix looks like this");
                }
            }
            model = file.bytes().to_vec();
        }
    }
}

#[test]
fn random_forgetting_shows_new_bytes_until_the_power_fails_and_old_ones_after() {
    for seed in 0..200 {
        let random = &mut random(seed);
        let (mut file, mut model) = (FileImage::default(), Vec::new());
        change(&mut file, &mut model, random);
        file.resize(6 * PAGE_BYTES);
        model.resize(6 * PAGE_BYTES, 0);
        file.sync();
        let durable = model.clone();
        for _ in 0..5 {
            let offset = random.random_range(0..5 * PAGE_BYTES);
            let data = vec![random.random::<u8>(); random.random_range(1..PAGE_BYTES)];
            model[offset..offset + data.len()].copy_from_slice(&data);
            file.write(offset, &data);
        }
        file.forget(|_| PageFate::Forgotten);
        assert_eq!(file.bytes(), model, "seed {seed}");
        file.settle(Survive::Everything, random);
        assert_eq!(file.bytes(), durable, "seed {seed}");
    }
}
