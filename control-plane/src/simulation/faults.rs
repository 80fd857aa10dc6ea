//! What can be planted into a history; each must break a claim.

/// A fault of the kind that others have shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A batch that comes again is counted again.
    BatchCountedTwice,
    /// A batch is acknowledged and not kept.
    BatchLost,
    /// Batches are folded in whichever order they come.
    FoldedOverGap,
    /// What is free in a wallet is not looked at.
    FloorRemoved,
    /// The end of a hold has another fact each time.
    DoublePost,
    /// A payment is known by the event that told of it.
    TopUpByEvent,
    /// Calls are charged before every batch of theirs is folded.
    ChargedBeforeFolded,
    /// How many units were charged before is not checked.
    UnitsUnchecked,
    /// Included calls are given with each lease.
    IncludedTwice,
    /// A gateway goes on spending a lease after its window's end.
    WindowEdge,
    /// After a kill all units of a lease go back, spent or not.
    KilledUnitsReturned,
    /// Counters from an old copy are believed.
    OldCopyBelieved,
    /// Counters are built anew without the leases in hand.
    RebuiltWithoutLeases,
    /// Units of answers that are not billed are never given back.
    UnitsNotGivenBack,
    /// A renewal has a new fact with each try.
    RenewedByTry,
    /// A charge that was declined is made by a slow writer.
    DeclinedAndMade,
    /// A lease without a hold is over, and nothing keeps a slow writer from holding for it afterwards.
    HoldAfterNone,
    /// A month is invoiced by the times of its entries, and is not ended in the row.
    MonthByTime,
    /// What a forgotten gateway tells of late is not charged.
    LateForgotten,
    /// A refund is posted each time it is told of.
    RefundByEvent,
}

impl Fault {
    pub(super) const ALL: &[Self] = &[
        Self::BatchCountedTwice,
        Self::BatchLost,
        Self::FoldedOverGap,
        Self::FloorRemoved,
        Self::DoublePost,
        Self::TopUpByEvent,
        Self::ChargedBeforeFolded,
        Self::UnitsUnchecked,
        Self::IncludedTwice,
        Self::WindowEdge,
        Self::KilledUnitsReturned,
        Self::OldCopyBelieved,
        Self::RebuiltWithoutLeases,
        Self::UnitsNotGivenBack,
        Self::RenewedByTry,
        Self::DeclinedAndMade,
        Self::HoldAfterNone,
        Self::MonthByTime,
        Self::LateForgotten,
        Self::RefundByEvent,
    ];
}
