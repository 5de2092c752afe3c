//! Which values of a key matter, and how appends lead from one to the next.
//!
//! An answer that shows a value is the only way to learn what a key holds, and an append only makes a
//! value longer. So a value that no shown value begins with is as good as any other such value:
//! whatever is appended to it, nobody can see it. All of them are one cell, [`LOST`]. The others
//! are the beginnings of shown values that sets and appends can bring about, and they are few: where
//! written values are unique, hardly more than there are writes. They are found before the
//! search begins, so that it knows numbers in place of strings.
//!
//! A beginning is known by its length and by the shown values that begin with it: sorted, these
//! stand side by side.

use std::collections::BTreeSet;
use std::ops::Range;

use smallvec::SmallVec;

use crate::calls::Line;
use crate::cells::{ABSENT, Cell};
use crate::hashing::Table;
use crate::held::Held;

/// Any value that nobody can see, now or after appends.
pub(crate) const LOST: Cell = 1;

/// What cannot be: the condition of an operation whose answer contradicts itself.
const NONSENSE: Cell = 2;

/// A value that is appended, by its number among those of all keys.
pub(crate) type Suffix = u32;

/// What is known of a key before its cells are found. The flags go by the numbers of `held`.
#[derive(Debug, Default)]
pub(crate) struct Uses<'h> {
    /// The values that operations name.
    pub(crate) held: Vec<Held<'h>>,
    /// Whether some operation has the value as its condition.
    pub(crate) shown: Vec<bool>,
    /// Whether some operation puts it in place of what there was.
    pub(crate) put: Vec<bool>,
    /// What is appended.
    pub(crate) suffixes: Table<&'h [u8], Suffix>,
    /// How long what is appended is.
    pub(crate) lengths: BTreeSet<usize>,
}

/// One cell of a key.
#[derive(Debug)]
struct Node {
    length: usize,
    /// The shown values that begin with it.
    shown: Range<usize>,
    /// Where appends lead, other than to [`LOST`].
    next: Vec<(Suffix, Cell)>,
    /// The last return of a step that sees it, or what appends make of it.
    noticed: Line,
}

/// The cells of one key.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    nodes: Vec<Node>,
    edges: Table<(Cell, Suffix), Cell>,
    /// For each shown value the cells that are put and that it begins with.
    puts: Vec<SmallVec<[Cell; 2]>>,
    /// For each shown value how it can begin, from absence.
    begins: Vec<SmallVec<[(Suffix, Cell); 1]>>,
    /// The cells that are beginnings, by the first shown value and the length.
    known: Table<(usize, usize), Cell>,
}

impl Growth {
    /// The cells of a key, and for each value that operations name the cell that it is.
    pub(crate) fn new(uses: &Uses<'_>) -> (Self, Vec<Cell>) {
        let shown = uses.held.iter().zip(&uses.shown).filter(|(_, shown)| **shown);
        let mut shown: Vec<&[u8]> =
            shown.filter_map(|(held, _)| held.value()).map(|value| value.as_bytes()).collect();
        shown.sort_unstable();
        let mut growth = Self {
            puts: vec![SmallVec::from_slice(&[ABSENT]); shown.len()],
            begins: vec![SmallVec::new(); shown.len()],
            ..Self::default()
        };
        let everything = 0..shown.len();
        for beginnings in [everything, 0..0, 0..0] {
            growth.add(beginnings, 0);
        }
        let cells: Vec<Cell> = uses.held.iter().map(|held| growth.named(held, &shown)).collect();
        let mut reached = vec![ABSENT];
        for (cell, _) in cells.iter().zip(&uses.put).filter(|(cell, put)| **put && **cell > LOST) {
            for place in growth.nodes[*cell as usize].shown.clone() {
                growth.puts[place].push(*cell);
            }
            reached.push(*cell);
        }
        growth.grow(reached, &shown, uses);
        (growth, cells)
    }

    fn add(&mut self, shown: Range<usize>, length: usize) -> Cell {
        self.nodes.push(Node { length, shown, next: Vec::new(), noticed: 0 });
        (self.nodes.len() - 1) as Cell
    }

    fn beginning(&mut self, shown: Range<usize>, length: usize) -> Cell {
        if let Some(cell) = self.known.get(&(shown.start, length)) {
            return *cell;
        }
        let place = (shown.start, length);
        let cell = self.add(shown, length);
        self.known.insert(place, cell);
        cell
    }

    fn named(&mut self, held: &Held<'_>, shown: &[&[u8]]) -> Cell {
        let value = match held {
            Held::Absent => return ABSENT,
            Held::Nonsense => return NONSENSE,
            Held::Value(value) => value.as_bytes(),
        };
        let start = shown.partition_point(|one| *one < value);
        let count = shown[start..].partition_point(|one| one.starts_with(value));
        if count == 0 { LOST } else { self.beginning(start..start + count, value.len()) }
    }

    /// Follows the appends from these cells to all that they lead to.
    fn grow(&mut self, mut reached: Vec<Cell>, shown: &[&[u8]], uses: &Uses<'_>) {
        let mut grown = BTreeSet::new();
        while let Some(from) = reached.pop() {
            if !grown.insert(from) {
                continue;
            }
            let Node { length, shown: range, .. } = &self.nodes[from as usize];
            let (length, range) = (*length, range.clone());
            for longer in &uses.lengths {
                let mut start = range.start;
                while start < range.end {
                    let Some(suffix) = shown[start][length..].get(..*longer) else {
                        start += 1;
                        continue;
                    };
                    let alike = |one: &&[u8]| one[length..].starts_with(suffix);
                    let end = start + shown[start..range.end].partition_point(alike);
                    if let Some(suffix) = uses.suffixes.get(suffix) {
                        let to = self.beginning(start..end, length + longer);
                        self.connect(from, *suffix, to);
                        reached.push(to);
                    }
                    start = end;
                }
            }
        }
    }

    fn connect(&mut self, from: Cell, suffix: Suffix, to: Cell) {
        self.edges.insert((from, suffix), to);
        self.nodes[from as usize].next.push((suffix, to));
        if from == ABSENT {
            for place in self.nodes[to as usize].shown.clone() {
                self.begins[place].push((suffix, to));
            }
        }
    }

    /// What an append makes of a cell.
    pub(crate) fn after(&self, cell: Cell, suffix: Suffix) -> Cell {
        self.edges.get(&(cell, suffix)).copied().unwrap_or(LOST)
    }

    /// The last return of a step that sees the cell, or what appends make of it.
    pub(crate) fn noticed(&self, cell: Cell) -> Line {
        self.nodes[cell as usize].noticed
    }

    /// Forgets who notices what.
    pub(crate) fn forget(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.noticed = 0);
    }

    /// Notes a step that sees a cell.
    pub(crate) fn notice(&mut self, cell: Cell, line: Line) {
        let noticed = &mut self.nodes[cell as usize].noticed;
        *noticed = line.max(*noticed);
    }

    /// Carries what was [noted](Self::notice) back along the appends, and tells `each` of them what
    /// is noticed of it.
    pub(crate) fn settle(&mut self, mut each: impl FnMut(Suffix, Line)) {
        let mut longest_first: Vec<usize> = (0..self.nodes.len()).collect();
        // Absence comes before the empty value, which an append of nothing makes of it.
        longest_first.sort_by_key(|cell| {
            (std::cmp::Reverse(self.nodes[*cell].length), *cell == ABSENT as usize)
        });
        for cell in longest_first {
            let later = self.nodes[cell].next.iter().map(|(_, to)| self.noticed(*to)).max();
            let noticed = &mut self.nodes[cell].noticed;
            *noticed = later.unwrap_or(0).max(*noticed);
            for (suffix, to) in &self.nodes[cell].next {
                each(*suffix, self.nodes[*to as usize].noticed);
            }
        }
    }

    /// The appends that lead from a cell to another one, or nearer to it.
    pub(crate) fn towards(
        &self,
        from: Cell,
        to: Cell,
    ) -> impl Iterator<Item = (Suffix, Cell)> + '_ {
        // The first of the values that begin with a shown one is that one itself.
        let place = self.nodes[to as usize].shown.start;
        let next = match from {
            _ if to <= NONSENSE => &[],
            ABSENT => self.begins[place].as_slice(),
            _ => self.nodes[from as usize].next.as_slice(),
        };
        let nearer = move |(_, next): &&(Suffix, Cell)| {
            *next != from && self.nodes[*next as usize].shown.contains(&place)
        };
        next.iter().filter(nearer).copied()
    }

    /// The cells that are put and that a shown one begins with.
    pub(crate) fn puts_below(&self, shown: Cell) -> &[Cell] {
        match shown {
            ABSENT => &[ABSENT],
            NONSENSE => &[],
            _ => &self.puts[self.nodes[shown as usize].shown.start],
        }
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Text;

    /// A key of which `shown` was seen, which was set to `put`, and to which `appended` were added.
    fn growth(shown: &[&str], put: &[&str], appended: &[&str]) -> (Growth, Vec<Cell>) {
        let values: Vec<Text> = shown.iter().chain(put).map(|value| Text::new(value)).collect();
        let mut uses = Uses { held: vec![Held::Absent], ..Uses::default() };
        uses.held.extend(values.iter().map(|value| Held::Value(value.by_ref())));
        uses.shown =
            (0..uses.held.len()).map(|number| (1..=shown.len()).contains(&number)).collect();
        uses.put = (0..uses.held.len()).map(|number| number > shown.len()).collect();
        for (value, number) in appended.iter().zip(0..) {
            uses.lengths.insert(value.len());
            uses.suffixes.insert(value.as_bytes(), number);
        }
        Growth::new(&uses)
    }

    #[test]
    fn only_the_beginnings_of_shown_values_are_told_apart() {
        let (growth, cells) = growth(&["ab", "axb"], &["ax", "b"], &["a", "b", "xb"]);
        let [_, ab, axb, ax, b] = cells[..] else { panic!("{cells:?}") };
        let a = growth.after(ABSENT, 0);
        assert_eq!([growth.after(a, 1), growth.after(a, 2)], [ab, axb]);
        assert_eq!([b, growth.after(ABSENT, 1), growth.after(ab, 1)], [LOST; 3]);
        assert_eq!([growth.after(ax, 1), growth.after(LOST, 0)], [axb, LOST]);
        assert_eq!(growth.puts_below(axb), [ABSENT, ax]);
        assert_eq!(growth.puts_below(ab), [ABSENT]);
        assert_eq!(growth.towards(a, axb).collect::<Vec<_>>(), [(2, axb)]);
        assert_eq!(growth.towards(ABSENT, axb).collect::<Vec<_>>(), [(0, a)]);
        assert_eq!(growth.towards(ab, axb).count(), 0);
    }

    #[test]
    fn who_sees_a_value_notices_what_it_was_made_of() {
        let (mut growth, cells) = growth(&["ab", ""], &["a"], &["a", "b", ""]);
        let [_, ab, empty, a] = cells[..] else { panic!("{cells:?}") };
        growth.notice(ab, 7);
        growth.notice(empty, 9);
        let mut last = [0; 3];
        growth.settle(|suffix, line| last[suffix as usize] = line.max(last[suffix as usize]));
        assert_eq!([ABSENT, empty, a, ab, LOST].map(|cell| growth.noticed(cell)), [9, 9, 7, 7, 0]);
        assert_eq!(last, [7, 7, 9]);
        assert_eq!([growth.after(ABSENT, 2), growth.after(a, 2)], [empty, a]);
    }
}
