//! What many use together, such as the streams of a node: nobody may have all of it.

use std::collections::HashMap;
use std::sync::Arc;

/// Who has a part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sharer {
    /// Whoever comes, where nobody is asked who they are: they have the whole.
    Everybody,
    /// Somebody, by what people and the audit log name them.
    One(Arc<str>),
}

/// Why there is nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// They have their share.
    Own,
    /// All of it is taken.
    All,
}

/// A whole, and who has how much of it.
#[derive(Debug)]
pub struct Shares {
    whole: usize,
    taken: HashMap<Sharer, usize>,
    all: usize,
}

/// The share of one: a quarter of the whole.
pub const fn share(whole: usize) -> usize {
    whole / 4
}

impl Shares {
    /// So much, of which nobody has anything.
    pub fn new(whole: usize) -> Self {
        Self {
            whole,
            taken: HashMap::new(),
            all: 0,
        }
    }

    /// Whether somebody may have more.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&self, who: &Sharer) -> Result<(), Short> {
        let most = match who {
            Sharer::Everybody => self.whole,
            Sharer::One(_) => share(self.whole),
        };
        if self.taken.get(who).is_some_and(|taken| *taken >= most) {
            return Err(Short::Own);
        }
        match self.all >= self.whole {
            true => Err(Short::All),
            false => Ok(()),
        }
    }

    /// Gives somebody a part, however much there is left.
    pub fn take(&mut self, who: &Sharer, part: usize) {
        *self.taken.entry(who.clone()).or_default() += part;
        self.all += part;
    }

    /// Takes back a part that somebody has.
    pub fn give_back(&mut self, who: &Sharer, part: usize) {
        let Some(taken) = self.taken.get_mut(who) else {
            return;
        };
        let part = part.min(*taken);
        *taken -= part;
        self.all -= part;
        if *taken == 0 {
            self.taken.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_quarter() {
        let one = |name: &str| Sharer::One(name.into());
        let mut shares = Shares::new(8);
        for (who, expected) in [
            ("a", Ok(())),
            ("a", Ok(())),
            ("a", Err(Short::Own)),
            ("b", Ok(())),
            ("b", Ok(())),
            ("c", Ok(())),
            ("c", Ok(())),
            ("d", Ok(())),
            ("d", Ok(())),
            ("e", Err(Short::All)),
            ("a", Err(Short::Own)),
        ] {
            assert_eq!(shares.room(&one(who)), expected, "{who}");
            if expected.is_ok() {
                shares.take(&one(who), 1);
            }
        }
        shares.give_back(&one("a"), 1);
        assert_eq!(shares.room(&one("e")), Ok(()));
        assert_eq!(shares.room(&one("a")), Ok(()));
        shares.give_back(&one("nobody"), 1);
        assert_eq!(shares.all, 7);
    }

    #[test]
    fn where_nobody_is_asked_the_whole_is_everybodys() {
        let mut shares = Shares::new(8);
        for _ in 0..8 {
            assert_eq!(shares.room(&Sharer::Everybody), Ok(()));
            shares.take(&Sharer::Everybody, 1);
        }
        assert_eq!(shares.room(&Sharer::Everybody), Err(Short::Own));
        for _ in 0..9 {
            shares.give_back(&Sharer::Everybody, 1);
        }
        assert!(shares.taken.is_empty() && shares.all == 0);
    }
}
