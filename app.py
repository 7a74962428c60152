from stacks.factory import main

main()
