"""What a job must know of the machine it runs on: device, threads, time left, other jobs."""
