"""What threat-intelligence services say of the addresses and files in a database.

Belongs here: clients of the services, their limits and cache, and writing the answers into sessions and files.
"""
