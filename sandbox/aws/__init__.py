"""
AWS as Slicewise sees it, on 127.0.0.1: moto's own application with what it lacks added to it.

`server.Aws.start(folder)` gives one endpoint URL for every service; `assembly.deploy` puts a
synthesized CDK app into it, and from then on events, queues, schedules and Lambda functions work.
"""
