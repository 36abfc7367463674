// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Binary max-heaps in slices, and sorting with them.
//!
//! The standard library's sorts recurse and keep scratch arrays on the stack, which is small in the kernel; heapsort
//! needs neither, and its time does not depend on how the input was chosen.

/// Restores the order of a heap whose last element is new.
pub(crate) fn sift_up<T: Ord>(heap: &mut [T]) {
    let mut at = heap.len().saturating_sub(1);
    while at > 0 {
        let parent = (at - 1) / 2;
        if heap.get(at) <= heap.get(parent) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

/// Restores the order of a heap of which element `at` may be smaller than those below it.
pub(crate) fn sift_down<T: Ord>(heap: &mut [T], mut at: usize) {
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let largest = match (heap.get(left), heap.get(right)) {
            (Some(l), Some(r)) if r > l => right,
            (Some(_), _) => left,
            (None, _) => return,
        };
        if heap.get(largest) <= heap.get(at) {
            return;
        }
        heap.swap(at, largest);
        at = largest;
    }
}

/// Sorts what is a heap already, in ascending order.
pub(crate) fn sort_heap<T: Ord>(mut heap: &mut [T]) {
    while heap.len() > 1 {
        let last = heap.len() - 1;
        heap.swap(0, last);
        match heap.split_last_mut() {
            Some((_, rest)) => heap = rest,
            None => return,
        }
        sift_down(heap, 0);
    }
}

/// Sorts in ascending order.
pub(crate) fn sort<T: Ord>(slice: &mut [T]) {
    for at in (0..slice.len() / 2).rev() {
        sift_down(slice, at);
    }
    sort_heap(slice);
}

/// Sorts a few elements in ascending order of their keys, equal ones as they were (insertion sort).
pub(crate) fn sort_by_key<T>(slice: &mut [T], key: impl Fn(&T) -> u64) {
    for end in 1..slice.len() {
        let mut at = end;
        while let (Some(before), Some(this)) = (at.checked_sub(1).and_then(|at| slice.get(at)), slice.get(at)) {
            if key(before) <= key(this) {
                break;
            }
            slice.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut state = 3u64;
        for len in 0..200usize {
            let mut a: std::vec::Vec<u64> = (0..len)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 33) % (len as u64)
                })
                .collect();
            let mut b = a.clone();
            sort(&mut a);
            b.sort();
            assert_eq!(a, b);
        }
    }
}
