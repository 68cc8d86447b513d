//! Products and inverses modulo a table's size.

/// A number below `M` to multiply by modulo `M`, without a division (V. Shoup's trick: the quotient is
/// estimated by a product with a fraction made once).
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    factor: u32,
    /// `factor / M` in units of 2^-32, rounded down.
    fraction: u32,
}

impl Factor {
    /// `factor` is below `m`, and `m` below 2^31.
    pub fn new(factor: u32, m: u32) -> Self {
        // The quotient is below 2^32 as the factor is below M.
        let fraction = ((u64::from(factor) << 32) / u64::from(m)) as u32;
        Factor { factor, fraction }
    }

    /// The product with a number below `m`.
    #[inline(always)]
    pub fn times(&self, number: u32, m: u32) -> u32 {
        let quotient = ((u64::from(self.fraction) * u64::from(number)) >> 32) as u32;
        // The estimate is right or one too small, so that what remains is below 2 M and right modulo 2^32.
        let rest = (self.factor.wrapping_mul(number)).wrapping_sub(quotient.wrapping_mul(m));
        if rest >= m { rest - m } else { rest }
    }
}

/// The number whose product with `number` (from 1 to `m - 1`) is 1 modulo `m` (prime): Euclid's algorithm,
/// extended.
pub fn inverse(number: u32, m: u32) -> u32 {
    let (mut r, mut next_r) = (i64::from(m), i64::from(number));
    let (mut t, mut next_t) = (0, 1);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (t, next_t) = (next_t, t - quotient * next_t);
    }
    // Between -m and m, so that it fits once it is not negative.
    t.rem_euclid(i64::from(m)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::maglev::TableSize;

    proptest! {
        #[test]
        fn a_factor_multiplies_and_an_inverse_undoes_it(large: bool, a: u32, b: u32) {
            let m = if large { TableSize::MAX.get() } else { TableSize::default().get() };
            let (a, b) = (a % (m - 1) + 1, b % m);
            let product = Factor::new(a, m).times(b, m);
            prop_assert_eq!(u64::from(product), u64::from(a) * u64::from(b) % u64::from(m));
            prop_assert_eq!(Factor::new(inverse(a, m), m).times(product, m), b);
        }
    }
}
