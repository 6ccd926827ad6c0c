"""The store: where records, executed notebooks and outputs are kept, and what is current of them.

    open       opens a directory or S3 by its URL       interface   what both backends promise
    keys       names of objects                         pointer     the commit
    directory  the embedded default                     s3          Amazon S3 and its likes

Nothing outside this package knows boto3 or how an object is stored.
"""
