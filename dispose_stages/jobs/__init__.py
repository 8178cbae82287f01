"""What a job does with its shard, and how it gets on with the machine it runs on."""
