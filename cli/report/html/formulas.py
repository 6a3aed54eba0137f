"""How each figure of the page is reckoned, in words for people."""

PAID = "Paid = machine-hours × the machine's price an hour, from its NodeClaim's creation to its deletion."
GPU_HOURS = "GPU-hours = machine-hours × GPUs of the machine. A slice counts as 1 ÷ N of its GPU."
USED = "Used = paid × (GPU time that pods held and were measured to be busy ÷ all GPU time)."
IDLE = "Idle = paid × (GPU time that pods held and were measured not to be busy ÷ all GPU time)."
UNMEASURED = (
    "Not measured = paid × (GPU time that pods held while nothing measured it ÷ all GPU time). "
    "It was used or idle."
)
FREE = (
    "Free = paid × (GPU time that no pod held ÷ all GPU time): free slices, and machines that start or drain."
)
ALLOCATED = "Allocated = used + idle + not measured: the price of the GPU time that pods held."
WASTE = "Waste = idle + free: paid for, and not used."
BUSY = "Busy = used ÷ (used + idle), of the GPU time that was measured."
MEMORY = "Memory = GPU memory that pods used ÷ the memory of the slices that they held, as far as measured."
WHOLE = (
    "Whole GPUs = the price of the machines that the same pods would have needed with a whole GPU of the "
    "same model each, rounded up to machines as the scheduler would."
)
BOUND = (
    "Lower bound = the larger of busy time and used memory × the price of the cheapest GPU-hour of the same "
    "model. What was not measured counts as held. No placement of these pods could cost less."
)
SHARING = "Saved by sharing = whole GPUs − paid."
NIGHTS = "Saved by sleeping = what would have run through the sleep − what did run, at list prices."
SAVED = "Saved = by sharing + by sleeping."
SAVED_SHARE = "Share saved = saved ÷ (paid + saved)."
AWS_SPLIT = (
    "AWS's split cost = the machine's price, split between its pods by what they request: a slice counts as "
    "a GPU, and GPU weighs 9 against 1 for CPU and memory."
)
OURS = "This report = paid × (GPU time that its pods held ÷ all GPU time), by machine."
DIFFERENCE = "Difference = AWS's split cost − this report."
N = "N = pods that share a GPU, as the mean over the NodePool's machines at the time."
EFFECT = (
    "Saved by a change = what the same pods would have cost without it − what they cost, until the next "
    "change of the same NodePool or workload, or the report's end."
)
NODE_HOURS = "Node-hours = nodes that ran when the sleep began × its length − node-hours that ran in it."

EVERY = (
    GPU_HOURS, PAID, USED, IDLE, UNMEASURED, FREE, ALLOCATED, WASTE, BUSY, MEMORY, N, WHOLE, BOUND, SHARING,
    NIGHTS, SAVED, SAVED_SHARE, EFFECT, AWS_SPLIT,
)  # fmt: skip
