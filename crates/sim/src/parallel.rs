//! Work on every processor, whose results come in the order of what was asked.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` for each item, on as many threads as there are processors, and hands each result to
/// `each`, in the items' order; until that fails.
///
/// # Errors
/// That of `each`.
///
/// # Panics
/// Where `work` does.
pub fn in_order<I, T, E>(
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> T + Sync,
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    T: Send,
{
    let items = Mutex::new(items.enumerate());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        let (done, results) = mpsc::channel();
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (done, next, work) = (done.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((number, item)) = next() {
                    // Nobody listens any more once an error is told.
                    if done.send((number, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut early, mut awaited) = (BTreeMap::new(), 0);
        for (number, result) in results {
            early.insert(number, result);
            while let Some(result) = early.remove(&awaited) {
                each(result)?;
                awaited += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whichever_is_done_first() {
        let mut told = Vec::new();
        let late_first = |item: u64| {
            thread::sleep(std::time::Duration::from_millis(20_u64.saturating_sub(item)));
            item * 2
        };
        in_order(0..40, late_first, |result| {
            told.push(result);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert!(told.into_iter().eq((0..40).map(|item| item * 2)));
    }

    #[test]
    fn it_ends_with_the_first_error() {
        let ended = in_order(0.., |item| item, |item| if item < 5 { Ok(()) } else { Err(item) });
        assert_eq!(ended, Err(5));
    }
}
