//! A structure under construction: little-endian fields stored at byte offsets.

/// `N` bytes, zero where nothing was stored.
pub(super) struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Fields<N> {
    pub(super) const fn new() -> Self {
        Self([0; N])
    }

    /// Stores `bytes` at `offset`. Layouts are constants of this module, so a field outside of its
    /// structure is a mistake that any test of the structure finds.
    pub(super) fn bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn u16(self, offset: usize, value: u16) -> Self {
        self.bytes(offset, &value.to_le_bytes())
    }

    pub(super) fn u32(self, offset: usize, value: u32) -> Self {
        self.bytes(offset, &value.to_le_bytes())
    }

    pub(super) fn u64(self, offset: usize, value: u64) -> Self {
        self.bytes(offset, &value.to_le_bytes())
    }

    pub(super) fn finish(self) -> [u8; N] {
        self.0
    }
}
