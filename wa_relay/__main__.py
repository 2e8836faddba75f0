"""`python -m wa_relay`: the same as the command `wa-relay`."""

from wa_relay.cli import main

if __name__ == "__main__":
    main()
