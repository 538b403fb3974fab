"""The plain line for an event."""

from __future__ import annotations

from bench.job.events import Event


def describe(event: Event) -> str | None:
    """The plain line for an event, or None for those only a live display shows."""
    match event["event"]:
        case "waiting":
            return f"another run on this machine is using {event['path']}; waiting for it to end (Ctrl-C to stop)"
        case "start":
            return f"{event['label']}: started ({event['left']} more jobs to go)"
        case "kept":
            return f"{event['label']}: {event['what']} was done already"
        case "resumed":
            return f"{event['label']}: resumed after epoch {event['epoch']}"
        case "outdated":
            return f"{event['label']}: trained from the start: the code has changed since the epochs that were done"
        case "epoch":
            return (
                f"{event['label']}: epoch {event['epoch']}/{event['of']} in {event['seconds']:.1f} s, "
                f"held-out ε MSE {event['eps_mse']:.4f}"
            )
        case "cell":
            outcome = f"FID {event['fid']:.2f}" if event["status"] == "done" else f"FAILED: {event['reason']}"
            return f"{event['job'][:8]} {event['label']}: {outcome}"
        case "damaged":
            return f"damaged file, made again: {event['path']}"
        case "elsewhere":
            return f"{event['label']}: another process is at work on it; leaving it to that one"
        case "failed":
            return f"{event['label']}: FAILED: {event['reason']}"
        case "done":
            return f"{event['label']}: done, harness overhead {event['overhead']:.1%}"
    return None
